#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Schema for Shape {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "Shape",
                path: ::phoenix_runtime::__private::core::concat!(
                    ::phoenix_runtime::__private::core::module_path!(), "::Shape"
                ),
                serde: "tag=\"kind\"",
                body: || ::phoenix_runtime::__private::Body::Enum(
                    ::phoenix_runtime::__private::std::vec![
                        ::phoenix_runtime::__private::Variant { name : "no-area", serde :
                        "", body :
                        ::phoenix_runtime::__private::core::option::Option::None },
                        ::phoenix_runtime::__private::Variant { name : "circle", serde :
                        "", body :
                        ::phoenix_runtime::__private::core::option::Option::Some(::phoenix_runtime::__private::Body::Struct(::phoenix_runtime::__private::std::vec![::phoenix_runtime::__private::Field
                        { name : "R", shape : < f64 as
                        ::phoenix_runtime::__private::Schema > ::schema(), serde : ""
                        }])) }, ::phoenix_runtime::__private::Variant { name : "square",
                        serde : "alias=\"Box\", 0: with=\"side\"", body :
                        ::phoenix_runtime::__private::core::option::Option::Some(::phoenix_runtime::__private::Body::Tuple(::phoenix_runtime::__private::std::vec![<
                        f64 as ::phoenix_runtime::__private::Schema > ::schema()])) }
                    ],
                ),
            })
        }
    }
};
