//! RestartSafety (10004): may these brokers be restarted now, all at once?
//!
//! Any broker is asked over HTTP; the active controller answers, because only it
//! knows, and only after it has made sure that it still is the active one.

use anyhow::Result;
use kafka_protocol::protocol::buf::ByteBuf;

use super::codec::{self, Fields, Sink};
use super::{PrivateKey, private_message};

/// Names the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartSafetyRequest {
    /// Their ids.
    pub brokers: Vec<i32>,
}

struct Id(i32);

impl Id {
    /// An id and its tag buffer.
    const MIN_BYTES: usize = 5;
}

impl Fields for Id {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_u32(out, self.0.cast_unsigned());
        Ok(())
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self(input.try_get_i32()?))
    }
}

impl Fields for RestartSafetyRequest {
    fn write<S: Sink>(&self, version: i16, out: &mut S) -> Result<()> {
        let ids: Vec<Id> = self.brokers.iter().copied().map(Id).collect();
        codec::put_array(&ids, version, out)
    }

    fn read<B: ByteBuf>(version: i16, input: &mut B) -> Result<Self> {
        let ids: Vec<Id> = codec::read_array(version, input, Id::MIN_BYTES)?;
        Ok(Self { brokers: ids.into_iter().map(|id| id.0).collect() })
    }
}

/// One thing that stands against the restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartReason {
    /// A fixed word for programs, such as `QUORUM`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl RestartReason {
    /// Two empty strings and a tag buffer.
    const MIN_BYTES: usize = 3;
}

impl Fields for RestartReason {
    fn write<S: Sink>(&self, _version: i16, out: &mut S) -> Result<()> {
        codec::put_string(out, &self.code)?;
        codec::put_string(out, &self.message)
    }

    fn read<B: ByteBuf>(_version: i16, input: &mut B) -> Result<Self> {
        Ok(Self { code: codec::read_string(input)?, message: codec::read_string(input)? })
    }
}

/// Every reason against it; none is a yes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartSafetyResponse {
    /// Why there is no answer (NOT_CONTROLLER above all), 0 if there is one.
    pub error_code: i16,
    /// The reasons.
    pub reasons: Vec<RestartReason>,
}

impl Fields for RestartSafetyResponse {
    fn write<S: Sink>(&self, version: i16, out: &mut S) -> Result<()> {
        codec::put_i16(out, self.error_code);
        codec::put_array(&self.reasons, version, out)
    }

    fn read<B: ByteBuf>(version: i16, input: &mut B) -> Result<Self> {
        Ok(Self {
            error_code: input.try_get_i16()?,
            reasons: codec::read_array(version, input, RestartReason::MIN_BYTES)?,
        })
    }
}

private_message!(PrivateKey::RestartSafety, RestartSafetyRequest => RestartSafetyResponse);
