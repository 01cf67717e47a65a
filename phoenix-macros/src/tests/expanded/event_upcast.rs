#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Event for Deposited {
        const NAME: &'static ::phoenix_runtime::__private::core::primitive::str = "deposited";
        const VERSION: ::phoenix_runtime::__private::core::primitive::u32 = 2;
        const PREVIOUS: ::phoenix_runtime::__private::core::option::Option<
            &'static ::phoenix_runtime::__private::Lineage,
        > = ::phoenix_runtime::__private::core::option::Option::Some(
            &::phoenix_runtime::__private::Lineage {
                name: <old::Deposited as ::phoenix_runtime::__private::Event>::NAME,
                version: <old::Deposited as ::phoenix_runtime::__private::Event>::VERSION,
                previous: <old::Deposited as ::phoenix_runtime::__private::Event>::PREVIOUS,
            },
        );
        fn read<__Codec: ::phoenix_runtime::__private::Codec>(
            name: &::phoenix_runtime::__private::core::primitive::str,
            version: ::phoenix_runtime::__private::core::primitive::u32,
            codec: ::phoenix_runtime::__private::core::primitive::u8,
            bytes: &[::phoenix_runtime::__private::core::primitive::u8],
        ) -> ::phoenix_runtime::__private::core::result::Result<
            Self,
            ::phoenix_runtime::__private::CodecError,
        > {
            ::phoenix_runtime::__private::read_upcast::<
                Self,
                old::Deposited,
                __Codec,
            >(name, version, codec, bytes)
        }
    }
    #[automatically_derived]
    impl<
        AggregateWithAHandlerOfIt: ::phoenix_runtime::__private::HasOneEventHandler<
                Deposited,
            >,
    > ::phoenix_runtime::__private::Emits<AggregateWithAHandlerOfIt> for Deposited {
        type Reply = ::phoenix_runtime::__private::NoReply;
        type Rejection = ::phoenix_runtime::__private::NoRejection;
        fn emit(
            self,
            out: &mut ::phoenix_runtime::__private::Sink<'_, AggregateWithAHandlerOfIt>,
        ) -> ::phoenix_runtime::__private::core::result::Result<
            ::phoenix_runtime::__private::NoReply,
            ::phoenix_runtime::__private::NoRejection,
        > {
            out.push(&self);
            ::phoenix_runtime::__private::core::result::Result::Ok(
                ::phoenix_runtime::__private::NoReply,
            )
        }
    }
    const _: () = ::phoenix_runtime::__private::upcast_goes_up(
        <Deposited as ::phoenix_runtime::__private::Event>::NAME,
        <Deposited as ::phoenix_runtime::__private::Event>::VERSION,
        <old::Deposited as ::phoenix_runtime::__private::Event>::NAME,
        <old::Deposited as ::phoenix_runtime::__private::Event>::VERSION,
        "old::Deposited",
    );
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Schema for Deposited {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "Deposited",
                path: ::phoenix_runtime::__private::core::concat!(
                    ::phoenix_runtime::__private::core::module_path!(), "::Deposited"
                ),
                serde: "",
                body: || ::phoenix_runtime::__private::Body::Tuple(
                    ::phoenix_runtime::__private::std::vec![
                        < Cents as ::phoenix_runtime::__private::Schema > ::schema()
                    ],
                ),
            })
        }
    }
};
