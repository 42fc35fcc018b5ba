//! What a gateway's installation says of it, which no fleet can: who it is, and where its state is.

/// The keys that an installation may set though the configuration is signed.
pub(super) const KEYS: [&str; 4] = [
    "gateway.id",
    "gateway.site",
    "gateway.region",
    "gateway.state_dir",
];

/// Whether an installation may set `key` where the configuration must be signed: by the environment, or by whatever else is not signed.
pub(super) fn may_set(key: &str) -> bool {
    KEYS.contains(&key)
}
