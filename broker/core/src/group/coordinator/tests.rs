mod committing;
mod deleting;
mod failing_over;
mod joining;
mod random;
mod rig;
mod static_members;
