//! Publications: what was published, and whom it was meant for.

use super::field::{Field, SessionIds, Texts};
use super::{Problem, RecordError, record};
use crate::cbor::{Cbor, CborRef};
use crate::generated::realmstore::Publication as Generated;
use crate::{Error, ErrorKind, PublicationId, Result, SessionId, Timestamp};

record! {
    /// One publication: a WAMP `PUBLISH`, stored once.
    ///
    /// It carries `args` and `kwargs`, or a `payload` that the router passes
    /// on without looking into it, never both.
    Publication,
    /// A [`Publication`], read in place.
    PublicationView<'a>, "publication", check either_payload_or_args;

    /// When it was published.
    timestamp: Timestamp | Timestamp = VT_TIMESTAMP,
    /// The WAMP publication ID: its key.
    publication: PublicationId | PublicationId = VT_PUBLICATION,
    /// The session that published it.
    publisher: Option<SessionId> | Option<SessionId> = VT_PUBLISHER,
    /// The topic, a URI.
    topic: String | &'a str = VT_TOPIC,
    /// The positional arguments: a CBOR array.
    args: Option<Cbor> | Option<CborRef<'a>> = VT_ARGS,
    /// The keyword arguments: a CBOR map.
    kwargs: Option<Cbor> | Option<CborRef<'a>> = VT_KWARGS,
    /// The payload in payload passthru mode, in place of `args` and `kwargs`.
    payload: Option<Vec<u8>> | Option<&'a [u8]> = VT_PAYLOAD,
    /// Whether the publisher asked for an acknowledgement.
    acknowledge: Option<bool> | Option<bool> = VT_ACKNOWLEDGE,
    /// Whether the broker was asked to retain it.
    retain: Option<bool> | Option<bool> = VT_RETAIN,
    /// Whether the publisher was to be left out of the receivers.
    exclude_me: Option<bool> | Option<bool> = VT_EXCLUDE_ME,
    /// Sessions that do not receive it.
    exclude: Option<Vec<SessionId>> | Option<SessionIds<'a>> = VT_EXCLUDE,
    /// Authids that do not receive it.
    exclude_authid: Option<Vec<String>> | Option<Texts<'a>> = VT_EXCLUDE_AUTHID,
    /// Authroles that do not receive it.
    exclude_authrole: Option<Vec<String>> | Option<Texts<'a>> = VT_EXCLUDE_AUTHROLE,
    /// The only sessions that receive it. A list that is empty admits nobody.
    eligible: Option<Vec<SessionId>> | Option<SessionIds<'a>> = VT_ELIGIBLE,
    /// The only authids that receive it. A list that is empty admits nobody.
    eligible_authid: Option<Vec<String>> | Option<Texts<'a>> = VT_ELIGIBLE_AUTHID,
    /// The only authroles that receive it. A list that is empty admits nobody.
    eligible_authrole: Option<Vec<String>> | Option<Texts<'a>> = VT_ELIGIBLE_AUTHROLE,
    /// How the payload is encrypted.
    enc_algo: Option<EncAlgo> | Option<EncAlgo> = VT_ENC_ALGO,
    /// The key that the payload is encrypted with.
    enc_key: Option<Vec<u8>> | Option<&'a [u8]> = VT_ENC_KEY,
    /// How the payload is serialized inside of its encryption.
    enc_serializer: Option<EncSerializer> | Option<EncSerializer> = VT_ENC_SERIALIZER,
}

impl Publication {
    /// A publication with nothing optional set.
    pub fn new(publication: PublicationId, timestamp: Timestamp, topic: impl Into<String>) -> Self {
        Self {
            timestamp,
            publication,
            topic: topic.into(),
            ..Self::default()
        }
    }
}

/// Who asks for what was published, as far as that decides what they may see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requester {
    /// Their authid.
    pub authid: Option<String>,
    /// Their authrole.
    pub authrole: Option<String>,
    /// Their session, and when it joined. Unset, they are nobody that a list of
    /// session IDs could name.
    pub session: Option<(SessionId, Timestamp)>,
}

impl<'a> PublicationView<'a> {
    /// The bytes of the topic, without a look at whether they are UTF-8: enough
    /// to compare it or to pass it on, and cheaper in a walk over many records,
    /// which need not wait until all of the text is there.
    ///
    /// # Errors
    /// When the topic is missing, or does not lie inside of the record.
    #[inline]
    pub fn topic_bytes(&self) -> Result<&'a [u8], RecordError> {
        match self.0.bytes(Generated::VT_TOPIC) {
            Ok(Some(topic)) => Ok(topic),
            Ok(None) => Err(damaged("topic", Problem::Missing)),
            Err(problem) => Err(damaged("topic", problem)),
        }
    }
}

impl PublicationView<'_> {
    /// Whether the lists of a publication let somebody have it (WAMP advanced
    /// profile, "Subscriber Black- and Whitelisting"): they are on every list
    /// of those eligible, and on none of those excluded. A list that is there
    /// but empty is a list: an empty one of those eligible admits nobody.
    ///
    /// A session ID means somebody only while the session lasts. A session that
    /// joined after the publication is on no list, whatever its ID is; and
    /// nobody can tell whether it belongs to somebody who was excluded, so it
    /// gets no publication that excludes sessions. So does nobody where a list
    /// is damaged, or [lost its length](SessionIds::lost_length).
    ///
    /// `exclude_me` is no list: see [`was_for`](Self::was_for).
    pub fn admits(&self, requester: &Requester) -> bool {
        self.admits_or_fails(requester).unwrap_or(false)
    }

    fn admits_or_fails(&self, requester: &Requester) -> Result<bool, RecordError> {
        let published = self.timestamp()?;
        let session = requester
            .session
            .filter(|(_, joined_at)| *joined_at <= published)
            .map(|(session, _)| session);
        if let Some(mut eligible) = self.eligible()?
            && !session.is_some_and(|session| eligible.any(|listed| listed == session))
        {
            return Ok(false);
        }
        if let Some(mut excluded) = self.exclude()? {
            let lost = excluded.lost_length();
            let Some(session) = session.filter(|_| !lost) else {
                return Ok(false);
            };
            if excluded.any(|listed| listed == session) {
                return Ok(false);
            }
        }
        let is_on = |list: Texts<'_>, name: &Option<String>| -> Result<bool, Problem> {
            let mut found = false;
            for text in list {
                found |= Some(text?) == name.as_deref();
            }
            Ok(found)
        };
        for (field, list, name) in [
            (
                "eligible_authid",
                self.eligible_authid()?,
                &requester.authid,
            ),
            (
                "eligible_authrole",
                self.eligible_authrole()?,
                &requester.authrole,
            ),
        ] {
            if let Some(list) = list
                && !is_on(list, name).map_err(|problem| damaged(field, problem))?
            {
                return Ok(false);
            }
        }
        for (field, list, name) in [
            ("exclude_authid", self.exclude_authid()?, &requester.authid),
            (
                "exclude_authrole",
                self.exclude_authrole()?,
                &requester.authrole,
            ),
        ] {
            if let Some(list) = list
                && is_on(list, name).map_err(|problem| damaged(field, problem))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether somebody would have received the publication, had they been
    /// subscribed: as [`admits`](Self::admits), and they are not the publisher,
    /// unless that said `exclude_me: false`.
    pub fn was_for(&self, requester: &Requester) -> bool {
        let is_excluded_publisher = || -> Result<bool, RecordError> {
            let publisher = self.publisher()?;
            let published = self.timestamp()?;
            let is_publisher = requester.session.is_some_and(|(session, joined_at)| {
                Some(session) == publisher && joined_at <= published
            });
            Ok(is_publisher && self.exclude_me()? != Some(false))
        };
        !is_excluded_publisher().unwrap_or(true) && self.admits(requester)
    }
}

fn either_payload_or_args(publication: &Publication) -> Result<()> {
    // What is empty says nothing, and may stand beside anything.
    let says_something = |cbor: &Option<Cbor>| {
        cbor.as_ref()
            .is_some_and(|cbor| !cbor.as_ref().as_bytes().is_empty())
    };
    if publication.payload.as_ref().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let with = if says_something(&publication.args) {
        "args"
    } else if says_something(&publication.kwargs) {
        "kwargs"
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!(
            "publication {} has both a payload and {with}; it may have either (WAMP payload passthru mode)",
            publication.publication
        ),
    ))
}

macro_rules! code {
    ($(#[$doc:meta])* $name:ident: $($(#[$code_doc:meta])* $code:ident = $number:literal $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$code_doc])* pub const $code: Self = Self($number);)*

            /// The name that WAMP has for it; `None` for a code that this version does not know.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$code => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

code! {
    /// How a payload is encrypted (WAMP payload passthru mode, `enc_algo`).
    /// Codes that this version has no name for are kept as they are.
    EncAlgo:
    /// Not encrypted.
    NONE = 0 "none",
    /// WAMP-cryptobox.
    CRYPTOBOX = 1 "cryptobox",
    /// A payload from MQTT.
    MQTT = 2 "mqtt",
    /// XBR end-to-end encryption.
    XBR = 3 "xbr",
    /// Known to the clients only.
    OPAQUE = 4 "opaque",
}

code! {
    /// How a payload is serialized inside of its encryption (`enc_serializer`).
    /// Codes that this version has no name for are kept as they are.
    EncSerializer:
    /// Not said.
    NONE = 0 "none",
    /// JSON.
    JSON = 1 "json",
    /// MessagePack.
    MSGPACK = 2 "msgpack",
    /// CBOR.
    CBOR = 3 "cbor",
    /// UBJSON.
    UBJSON = 4 "ubjson",
    /// Known to the clients only.
    OPAQUE = 5 "opaque",
    /// FlatBuffers.
    FLATBUFFERS = 6 "flatbuffers",
}
