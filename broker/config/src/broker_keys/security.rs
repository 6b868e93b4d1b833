//! TLS, SASL and authorization. None of it is built yet, and none of it may be taken for built: keys that
//! would leave a cluster open if they were ignored accept their default only, and a listener that asks for
//! a protocol other than PLAINTEXT is refused.

use crate::key::{ConfigType, DefaultValue, Key};

const NO_TLS: &str = "TLS is not built yet; no listener can use it";
const NO_SASL: &str = "SASL is not built yet; no listener can use it";
const NO_AUTHORIZER: &str = "authorization is not built yet, every client may do everything";

pub(super) const KEYS: &[Key] = &[
    Key::string("authorizer.class.name", "", "What decides who may do what.")
        .low()
        .default_only(NO_AUTHORIZER),
    Key::string("super.users", "", "Principals that may do everything.").low().inert(NO_AUTHORIZER),
    Key::boolean("allow.everyone.if.no.acl.found", "false", "Whether a resource without a rule is open.")
        .low()
        .inert(NO_AUTHORIZER),
    Key::new(
        "principal.builder.class",
        ConfigType::Class,
        DefaultValue::Text("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        "A Java class that names clients.",
    )
    .low()
    .default_only("Ottla loads no Java classes"),
    Key::list("sasl.enabled.mechanisms", "GSSAPI", "How clients may log in.").per_broker().inert(NO_SASL),
    Key::string("sasl.mechanism.inter.broker.protocol", "GSSAPI", "How brokers log in to each other.")
        .per_broker()
        .inert(NO_SASL),
    Key::string("sasl.mechanism.controller.protocol", "GSSAPI", "How nodes log in to controllers.")
        .inert(NO_SASL),
    Key::unset("sasl.jaas.config", ConfigType::Password, "The account a node logs in with.")
        .per_broker()
        .inert(NO_SASL),
    Key::long("connections.max.reauth.ms", "0", "How long a login lasts; 0 is for ever.").inert(NO_SASL),
    Key::string("ssl.client.auth", "none", "Whether clients must show a certificate.")
        .per_broker()
        .inert(NO_TLS),
    Key::unset("ssl.keystore.location", ConfigType::String, "The file with the node's certificate and key.")
        .per_broker()
        .inert(NO_TLS),
    Key::unset("ssl.keystore.password", ConfigType::Password, "The password of that file.")
        .per_broker()
        .inert(NO_TLS),
    Key::string("ssl.keystore.type", "JKS", "The format of that file.").per_broker().inert(NO_TLS),
    Key::unset("ssl.keystore.certificate.chain", ConfigType::Password, "The node's certificate as PEM.")
        .per_broker()
        .inert(NO_TLS),
    Key::unset("ssl.keystore.key", ConfigType::Password, "The node's key as PEM.").per_broker().inert(NO_TLS),
    Key::unset("ssl.key.password", ConfigType::Password, "The password of the key.")
        .per_broker()
        .inert(NO_TLS),
    Key::unset("ssl.truststore.location", ConfigType::String, "The file with the certificates to trust.")
        .per_broker()
        .inert(NO_TLS),
    Key::unset("ssl.truststore.password", ConfigType::Password, "The password of that file.")
        .per_broker()
        .inert(NO_TLS),
    Key::string("ssl.truststore.type", "JKS", "The format of that file.").per_broker().inert(NO_TLS),
    Key::unset("ssl.truststore.certificates", ConfigType::Password, "The certificates to trust as PEM.")
        .per_broker()
        .inert(NO_TLS),
    Key::list("ssl.enabled.protocols", "TLSv1.2,TLSv1.3", "The versions of TLS offered.")
        .per_broker()
        .inert(NO_TLS),
    Key::string("ssl.protocol", "TLSv1.3", "The newest version of TLS offered.").per_broker().inert(NO_TLS),
    Key::list("ssl.cipher.suites", "", "The ciphers offered; empty offers the library's.")
        .per_broker()
        .inert(NO_TLS),
    Key::string(
        "ssl.endpoint.identification.algorithm",
        "https",
        "Whether the name in a server's certificate is checked.",
    )
    .per_broker()
    .inert(NO_TLS),
    Key::string("ssl.principal.mapping.rules", "DEFAULT", "How a certificate's name becomes a principal.")
        .inert(NO_TLS),
    Key::unset(
        "delegation.token.secret.key",
        ConfigType::Password,
        "The key delegation tokens are signed with.",
    )
    .inert("delegation tokens are not built yet"),
    Key::long("delegation.token.max.lifetime.ms", "604800000", "How long a delegation token may be renewed.")
        .at_least(1)
        .inert("delegation tokens are not built yet"),
    Key::long("delegation.token.expiry.time.ms", "86400000", "How long a delegation token lasts.")
        .at_least(1)
        .inert("delegation tokens are not built yet"),
];
