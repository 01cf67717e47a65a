#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Query for Balance {
        const NAME: &'static ::phoenix_runtime::__private::core::primitive::str = "balance";
        const AGGREGATE: ::phoenix_runtime::__private::core::option::Option<
            &'static ::phoenix_runtime::__private::core::primitive::str,
        > = ::phoenix_runtime::__private::core::option::Option::None;
        type Reply = Cents;
        fn aggregate_id(
            &self,
        ) -> ::phoenix_runtime::__private::core::result::Result<
            ::phoenix_runtime::__private::AggregateId,
            ::phoenix_runtime::__private::InvalidId,
        > {
            ::phoenix_runtime::__private::AggregateId::from_field(&self.account)
        }
    }
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Schema for Balance {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "Balance",
                path: ::phoenix_runtime::__private::core::concat!(
                    ::phoenix_runtime::__private::core::module_path!(), "::Balance"
                ),
                serde: "",
                body: || ::phoenix_runtime::__private::Body::Struct(
                    ::phoenix_runtime::__private::std::vec![
                        ::phoenix_runtime::__private::Field { name : "account", shape : <
                        String as ::phoenix_runtime::__private::Schema > ::schema(),
                        serde : "" }
                    ],
                ),
            })
        }
    }
};
