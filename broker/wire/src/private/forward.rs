//! Forward (10003): a client's admin request on its way to the active controller.
//!
//! The broker has authenticated the client but decides nothing: who asked, over
//! which listener and from where travel along, and the controller authorizes. The
//! body is untouched, so that the controller reads what the client wrote.

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::protocol::buf::ByteBuf;

use super::codec::{self, Fields, Sink};
use super::{PrivateKey, private_message};

/// Carries a client's request with everything its context needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRequest {
    /// The kind of principal, `User` for all that Kafka knows today.
    pub principal_type: String,
    /// The principal's name.
    pub principal_name: String,
    /// What the client calls itself.
    pub client_id: String,
    /// The listener the request came in on.
    pub listener: String,
    /// The host the client connected from.
    pub client_host: String,
    /// Which request the body is.
    pub api_key: i16,
    /// In which version it is written.
    pub api_version: i16,
    /// The body as the client sent it, without the header.
    pub body: Bytes,
}

impl Fields for ForwardRequest {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_string(out, &self.principal_type)?;
        codec::put_string(out, &self.principal_name)?;
        codec::put_string(out, &self.client_id)?;
        codec::put_string(out, &self.listener)?;
        codec::put_string(out, &self.client_host)?;
        codec::put_i16(out, self.api_key);
        codec::put_i16(out, self.api_version);
        codec::put_bytes(out, &self.body)
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            principal_type: codec::read_string(input)?,
            principal_name: codec::read_string(input)?,
            client_id: codec::read_string(input)?,
            listener: codec::read_string(input)?,
            client_host: codec::read_string(input)?,
            api_key: input.try_get_i16()?,
            api_version: input.try_get_i16()?,
            body: codec::read_bytes(input)?,
        })
    }
}

/// The answer on its way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardResponse {
    /// Why nothing was tried (NOT_CONTROLLER above all), 0 if the body answers.
    pub error_code: i16,
    /// The response's body as the client is to get it, without the header.
    pub body: Bytes,
}

impl Fields for ForwardResponse {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_i16(out, self.error_code);
        codec::put_bytes(out, &self.body)
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self { error_code: input.try_get_i16()?, body: codec::read_bytes(input)? })
    }
}

private_message!(PrivateKey::Forward, ForwardRequest => ForwardResponse);
