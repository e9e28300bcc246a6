//! Points in time.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, ErrorKind, Result};

/// A point in time: nanoseconds since the Unix epoch, UTC, from 1970 to 2554.
///
/// Its text form is RFC 3339 with nine digits of a second, so that texts sort
/// as the times do. Parsing takes any RFC 3339 time with an offset.
///
/// ```
/// use realmstore_core::Timestamp;
///
/// let time: Timestamp = "2026-11-22T13:36:12.714741515+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-11-22T12:36:12.714741515Z");
/// assert_eq!(Timestamp::from_nanos(0).to_string(), "1970-01-01T00:00:00.000000000Z");
/// # Ok::<(), realmstore_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch, 1970-01-01T00:00:00Z. Where a record must have a time, it stands for none.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The last point in time that can be written.
    pub const MAX: Self = Self(u64::MAX);

    /// Nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether this stands for no time at all (the epoch itself).
    pub const fn is_unset(self) -> bool {
        self.0 == 0
    }

    /// The time on this machine's clock.
    pub fn now() -> Self {
        Self::try_from(SystemTime::now()).unwrap_or(Self::UNIX_EPOCH)
    }
}

fn out_of_range(what: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{what} is outside of the years 1970 to 2554"),
    )
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Error;

    fn try_from(time: SystemTime) -> Result<Self> {
        let since = time
            .duration_since(UNIX_EPOCH)
            .map_err(|_| out_of_range("a time before 1970"))?;
        u64::try_from(since.as_nanos())
            .map(Self)
            .map_err(|_| out_of_range("a time after 2554"))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(f, "{time:.9}"),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not an RFC 3339 time such as 2026-11-22T12:36:12.714Z"),
            )
            .source(error)
        })?;
        u64::try_from(time.as_nanosecond())
            .map(Self)
            .map_err(|_| out_of_range(text))
    }
}

#[cfg(feature = "chrono")]
impl From<Timestamp> for chrono::DateTime<chrono::Utc> {
    fn from(time: Timestamp) -> Self {
        let nanos = (time.0 % 1_000_000_000) as u32;
        // Every u64 of nanoseconds is a date that chrono knows.
        Self::from_timestamp((time.0 / 1_000_000_000) as i64, nanos).unwrap_or_default()
    }
}

#[cfg(feature = "chrono")]
impl TryFrom<chrono::DateTime<chrono::Utc>> for Timestamp {
    type Error = Error;

    fn try_from(time: chrono::DateTime<chrono::Utc>) -> Result<Self> {
        nanos(time.timestamp(), time.timestamp_subsec_nanos())
            .ok_or_else(|| out_of_range("a time of chrono"))
    }
}

#[cfg(feature = "time")]
impl From<Timestamp> for time::OffsetDateTime {
    fn from(time: Timestamp) -> Self {
        Self::UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}

#[cfg(feature = "time")]
impl TryFrom<time::OffsetDateTime> for Timestamp {
    type Error = Error;

    fn try_from(time: time::OffsetDateTime) -> Result<Self> {
        nanos(time.unix_timestamp(), time.nanosecond()).ok_or_else(|| out_of_range(time))
    }
}

#[cfg(any(feature = "chrono", feature = "time"))]
fn nanos(seconds: i64, nanos: u32) -> Option<Timestamp> {
    let seconds = u64::try_from(seconds).ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(u64::from(nanos))
        .map(Timestamp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_time_survives_its_text(nanos: u64) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        }

        #[test]
        fn texts_sort_as_the_times_do(a: u64, b: u64) {
            let (a, b) = (Timestamp::from_nanos(a), Timestamp::from_nanos(b));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn every_time_survives_the_system_time(nanos: u64) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(Timestamp::try_from(SystemTime::from(time)).unwrap(), time);
        }
    }

    #[cfg(feature = "chrono")]
    proptest! {
        #[test]
        fn every_time_survives_chrono(nanos: u64) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(Timestamp::try_from(chrono::DateTime::from(time)).unwrap(), time);
        }
    }

    #[cfg(feature = "time")]
    proptest! {
        #[test]
        fn every_time_survives_time(nanos: u64) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(Timestamp::try_from(time::OffsetDateTime::from(time)).unwrap(), time);
        }
    }

    #[test]
    fn times_outside_of_the_range_are_refused() {
        for text in [
            "1969-12-31T23:59:59.999999999Z",
            "2600-01-01T00:00:00Z",
            "yesterday",
            "2026-11-22",
            "",
        ] {
            let error = text.parse::<Timestamp>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
    }
}
