#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Command for OpenAccount {
        const NAME: &'static ::phoenix_runtime::__private::core::primitive::str = "open-account";
        const AGGREGATE: ::phoenix_runtime::__private::core::option::Option<
            &'static ::phoenix_runtime::__private::core::primitive::str,
        > = ::phoenix_runtime::__private::core::option::Option::Some("account");
        type Reply = Cents;
        type Rejection = Refused;
        fn aggregate_id(
            &self,
        ) -> ::phoenix_runtime::__private::core::result::Result<
            ::phoenix_runtime::__private::AggregateId,
            ::phoenix_runtime::__private::InvalidId,
        > {
            ::phoenix_runtime::__private::AggregateId::from_fields(
                &[&self.route.bank, &self.account],
            )
        }
        fn business_key(
            &self,
        ) -> ::phoenix_runtime::__private::core::option::Option<
            ::phoenix_runtime::__private::std::string::String,
        > {
            ::phoenix_runtime::__private::core::option::Option::Some(
                ::phoenix_runtime::__private::join(&[&self.order_no]),
            )
        }
    }
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Addressed for OpenAccount {}
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Schema for OpenAccount {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "OpenAccount",
                path: ::phoenix_runtime::__private::core::concat!(
                    ::phoenix_runtime::__private::core::module_path!(), "::OpenAccount"
                ),
                serde: "",
                body: || ::phoenix_runtime::__private::Body::Struct(
                    ::phoenix_runtime::__private::std::vec![
                        ::phoenix_runtime::__private::Field { name : "route", shape : <
                        Route as ::phoenix_runtime::__private::Schema > ::schema(), serde
                        : "" }, ::phoenix_runtime::__private::Field { name : "account",
                        shape : < String as ::phoenix_runtime::__private::Schema >
                        ::schema(), serde : "" }, ::phoenix_runtime::__private::Field {
                        name : "order_no", shape : < u64 as
                        ::phoenix_runtime::__private::Schema > ::schema(), serde : "" }
                    ],
                ),
            })
        }
    }
};
