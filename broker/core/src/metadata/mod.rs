//! The cluster's metadata: the records that change it and the image they build.
//!
//! Owns: [`image::Image`], the immutable picture that every broker and controller builds from committed
//! records. Does not decide anything: `controller` makes records, `replay` here applies them.

pub mod image;
