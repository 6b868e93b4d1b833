//! What the operator is told by its environment: the chart writes it, nothing else is read.

use std::env;

/// The operator's own settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of brokers for clusters that name none; its tag is the release they are pinned to.
    pub broker_image: BrokerImage,
    /// The namespaces to watch; none means all.
    pub watch_namespaces: Vec<String>,
    /// The operator's own namespace, which may reach the brokers' internal ports and holds the Lease.
    pub namespace: String,
    /// The operator's own pod, the holder of the Lease.
    pub pod: String,
    /// The name of the Lease.
    pub lease: String,
}

/// The image of brokers: a repository and the release that this operator knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BrokerImage {
    repository: String,
    tag: String,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The image has no tag, from which clusters take their release.
    #[error("OTTLA_BROKER_IMAGE={0:?} has no tag: write REPOSITORY:RELEASE")]
    ImageWithoutTag(String),
}

impl BrokerImage {
    /// Splits `repository:tag`.
    ///
    /// # Errors
    /// When there is no tag, or a digest in its place.
    pub fn parse(image: &str) -> Result<Self, SettingsError> {
        match image.rsplit_once(':') {
            Some((repository, tag))
                if !repository.is_empty()
                    && !tag.is_empty()
                    && !tag.contains('/')
                    && !image.contains('@') =>
            {
                Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
            }
            Some(_) | None => Err(SettingsError::ImageWithoutTag(image.to_owned())),
        }
    }

    /// The release that new clusters are pinned to.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.tag
    }

    /// The image of a release.
    #[must_use]
    pub fn of_release(&self, release: &str) -> String {
        format!("{}:{release}", self.repository)
    }
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn from_env() -> Result<Self, SettingsError> {
        let text = |key: &str, default: &str| {
            env::var(key).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let default_image = concat!("localhost/ottla/broker:", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            broker_image: BrokerImage::parse(&text("OTTLA_BROKER_IMAGE", default_image))?,
            watch_namespaces: text("OTTLA_WATCH_NAMESPACES", "")
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
            namespace: text("POD_NAMESPACE", "ottla-system"),
            pod: text("POD_NAME", "ottla-operator"),
            lease: text("OTTLA_LEASE", "ottla-operator"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_split_at_its_tag() {
        let image = BrokerImage::parse("registry:5000/ottla/broker:0.1.0").unwrap();
        assert_eq!(image.release(), "0.1.0");
        assert_eq!(image.of_release("0.2.0"), "registry:5000/ottla/broker:0.2.0");
    }

    #[test]
    fn an_image_without_a_release_is_refused() {
        for image in ["broker", "registry:5000/broker", "broker@sha256:abc", "broker:", ":x"] {
            assert_eq!(BrokerImage::parse(image), Err(SettingsError::ImageWithoutTag(image.to_owned())));
        }
    }
}
