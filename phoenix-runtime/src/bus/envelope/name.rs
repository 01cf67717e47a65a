//! Names of attributes: those of `CloudEvents`, and of its extensions; ours begin with `phx`.

macro_rules! names {
    ($($name:ident $text:literal)*) => {
        /// A name; they stand in the order of their texts, in which they are written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Name {
            $($name,)*
        }

        impl Name {
            pub(super) const ALL: [Self; [$($text),*].len()] = [$(Self::$name),*];

            /// As it stands in JSON.
            pub(super) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// As it stands among headers.
            pub(super) const fn header(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("ce_", $text),)*
                }
            }

            pub(super) fn of(text: &[u8]) -> Option<Self> {
                const TEXTS: &[&[u8]] = &[$($text.as_bytes()),*];
                TEXTS.iter().position(|known| *known == text).and_then(|place| Self::ALL.get(place)).copied()
            }
        }
    };
}

names! {
    Causation "causationid"
    Correlation "correlationid"
    DataRef "dataref"
    Id "id"
    Aggregate "phxaggregate"
    Attempt "phxattempt"
    ClaimError "phxclaimerror"
    Code "phxcode"
    Deadline "phxdeadline"
    Key "phxkey"
    Message "phxname"
    Outcome "phxoutcome"
    Priority "phxpriority"
    Replayed "phxreplayed"
    ReplyOf "phxreplyof"
    ReplyTo "phxreplyto"
    StreamVersion "phxstreamversion"
    Version "phxversion"
    Volatile "phxvolatile"
    Source "source"
    Spec "specversion"
    Subject "subject"
    Trace "traceparent"
    Type "type"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_found() {
        assert!(Name::ALL.is_sorted_by_key(|name| name.as_str()));
        for name in Name::ALL {
            assert_eq!(Name::of(name.as_str().as_bytes()), Some(name));
            assert_eq!(name.header().strip_prefix("ce_"), Some(name.as_str()));
        }
    }
}
