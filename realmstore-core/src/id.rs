//! WAMP identifiers, one type each so that they cannot be mixed up.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The largest ID that WAMP allows, 2^53.
            pub const MAX: Self = Self(1 << 53);

            #[doc = concat!("A ", $what, " that a router may hand out.")]
            ///
            /// # Errors
            /// [`ErrorKind::InvalidInput`] outside of 1 to 2^53.
            pub fn new(id: u64) -> Result<Self> {
                match id {
                    1..=0x20_0000_0000_0000 => Ok(Self(id)),
                    _ => Err(Error::new(
                        ErrorKind::InvalidInput,
                        format!(concat!($what, " {} is outside of 1 to 2^53"), id),
                    )),
                }
            }

            /// The ID as it stands in a stored record, whatever it is: old
            /// files hold 0 where no ID was known.
            pub const fn from_stored(id: u64) -> Self {
                Self(id)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Whether this stands for no ID at all (0).
            pub const fn is_unset(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> u64 {
                id.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = Error;

            fn try_from(id: u64) -> Result<Self> {
                Self::new(id)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let id = text.parse().map_err(|error: ParseIntError| {
                    Error::new(
                        ErrorKind::InvalidInput,
                        format!(concat!("{:?} is not a ", $what, ": it is a number from 1 to 2^53"), text),
                    )
                    .source(error)
                })?;
                Self::new(id)
            }
        }
    };
}

id! {
    /// The WAMP session ID that a router gave a session in `WELCOME`: random,
    /// 1 to 2^53, unique on the router only while the session lasts
    /// (WAMP basic profile, "Identifiers").
    ///
    /// ```
    /// use realmstore_core::SessionId;
    ///
    /// assert_eq!(SessionId::new(4876312139390647)?.get(), 4876312139390647);
    /// assert!(SessionId::new(0).is_err());
    /// assert!("9007199254740993".parse::<SessionId>().is_err());
    /// # Ok::<(), realmstore_core::Error>(())
    /// ```
    SessionId, "session ID"
}

id! {
    /// The WAMP publication ID of one publication: random, 1 to 2^53, in no order.
    PublicationId, "publication ID"
}

id! {
    /// The WAMP ID of a subscription: the router's own choice, 1 to 2^53.
    SubscriptionId, "subscription ID"
}
