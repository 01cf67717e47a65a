#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Event for Deposited {
        const NAME: &'static ::phoenix_runtime::__private::core::primitive::str = "deposited";
        const VERSION: ::phoenix_runtime::__private::core::primitive::u32 = 1;
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
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Schema for Deposited {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "Deposited",
                path: ::phoenix_runtime::__private::core::concat!(
                    ::phoenix_runtime::__private::core::module_path!(), "::Deposited"
                ),
                serde: "",
                body: || ::phoenix_runtime::__private::Body::Struct(
                    ::phoenix_runtime::__private::std::vec![
                        ::phoenix_runtime::__private::Field { name : "amount", shape : <
                        Cents as ::phoenix_runtime::__private::Schema > ::schema(), serde
                        : "" }
                    ],
                ),
            })
        }
    }
};
