//! What is asked about finalised features (UpdateFeatures, key 57: KIP-584, KIP-778).

/// Levels to be finalised, all of them or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFeatures {
    /// Each of them.
    pub updates: Vec<FeatureUpdate>,
    /// Check all and change nothing.
    pub validate_only: bool,
}

/// The level of one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature's name, unchecked.
    pub name: String,
    /// Its level from now on; 0 takes it away.
    pub level: i16,
    /// What the sender means by it.
    pub kind: UpgradeType,
}

/// Which way a level may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up (1).
    Upgrade,
    /// Down, if nothing is lost by it (2).
    SafeDowngrade,
    /// Down, at the price of what only the level above has (3).
    UnsafeDowngrade,
}
