pub struct Account {
    balance: i64,
}
#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Aggregate for Account {
        const NAME: &'static ::phoenix_runtime::__private::core::primitive::str = "account";
        const OPTIONS: ::phoenix_runtime::__private::Options = {
            let mut options = ::phoenix_runtime::__private::Options::DEFAULT;
            options.snapshot_every = ::phoenix_runtime::__private::core::option::Option::Some(
                50,
            );
            options.snapshot_bytes = ::phoenix_runtime::__private::core::option::Option::Some(
                65536,
            );
            options.snapshots_kept = 3;
            options.archive = true;
            options
        };
        type Codec = ::phoenix_runtime::__private::Json;
        type Snapshots = ::phoenix_runtime::__private::On;
        const PARTS: &'static [::phoenix_runtime::__private::core::option::Option<
            &'static ::phoenix_runtime::__private::Part<Self>,
        >] = {
            use ::phoenix_runtime::__private::NoPart as _;
            &[
                ::phoenix_runtime::__private::Probe::<Self, 1>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 2>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 3>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 4>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 5>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 6>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 7>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 8>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 9>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 10>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 11>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 12>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 13>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 14>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 15>::FOUND,
                ::phoenix_runtime::__private::Probe::<Self, 16>::FOUND,
            ]
        };
    }
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Schema for Account {
        fn schema() -> ::phoenix_runtime::__private::Type {
            ::phoenix_runtime::__private::Type::Defined(::phoenix_runtime::__private::Definition {
                name: "Account",
                path: ::phoenix_runtime::__private::core::concat!(
                    ::phoenix_runtime::__private::core::module_path!(), "::Account"
                ),
                serde: "",
                body: || ::phoenix_runtime::__private::Body::Struct(
                    ::phoenix_runtime::__private::std::vec![
                        ::phoenix_runtime::__private::Field { name : "balance", shape : <
                        i64 as ::phoenix_runtime::__private::Schema > ::schema(), serde :
                        "" }
                    ],
                ),
            })
        }
    }
};
