#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl<AnyAggregate> ::phoenix_runtime::__private::Emits<AnyAggregate> for Outcome
    where
        Deposited: ::phoenix_runtime::__private::Emits<
            AnyAggregate,
            Reply = ::phoenix_runtime::__private::NoReply,
            Rejection = ::phoenix_runtime::__private::NoRejection,
        >,
        Flagged: ::phoenix_runtime::__private::Emits<
            AnyAggregate,
            Reply = ::phoenix_runtime::__private::NoReply,
            Rejection = ::phoenix_runtime::__private::NoRejection,
        >,
    {
        type Reply = ::phoenix_runtime::__private::NoReply;
        type Rejection = ::phoenix_runtime::__private::NoRejection;
        fn emit(
            self,
            out: &mut ::phoenix_runtime::__private::Sink<'_, AnyAggregate>,
        ) -> ::phoenix_runtime::__private::core::result::Result<
            ::phoenix_runtime::__private::NoReply,
            ::phoenix_runtime::__private::NoRejection,
        > {
            match self {
                Self::Deposited(event) => {
                    ::phoenix_runtime::__private::Emits::<AnyAggregate>::emit(event, out)
                }
                Self::Flagged(event) => {
                    ::phoenix_runtime::__private::Emits::<AnyAggregate>::emit(event, out)
                }
                Self::Nothing => {
                    ::phoenix_runtime::__private::core::result::Result::Ok(
                        ::phoenix_runtime::__private::NoReply,
                    )
                }
            }
        }
    }
};
