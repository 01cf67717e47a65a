#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl<T: ::phoenix_runtime::__private::Schema> ::phoenix_runtime::__private::Schema
    for Page<T> {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "Page",
                path: ::phoenix_runtime::__private::core::any::type_name::<Self>(),
                serde: "deny_unknown_fields",
                body: || ::phoenix_runtime::__private::Body::Struct(
                    ::phoenix_runtime::__private::std::vec![
                        ::phoenix_runtime::__private::Field { name : "nextPage", shape :
                        < Option < u32 > as ::phoenix_runtime::__private::Schema >
                        ::schema(), serde : "" }, ::phoenix_runtime::__private::Field {
                        name : "all", shape : < Vec < T > as
                        ::phoenix_runtime::__private::Schema > ::schema(), serde :
                        "default" }
                    ],
                ),
            })
        }
    }
};
