pub struct Account {
    balance: i64,
}
#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[automatically_derived]
    impl renamed::__private::Aggregate for Account {
        const NAME: &'static renamed::__private::core::primitive::str = "account";
        const OPTIONS: renamed::__private::Options = {
            let mut options = renamed::__private::Options::DEFAULT;
            options.snapshot_every = renamed::__private::core::option::Option::None;
            options.idempotency_window = 7;
            options.passivate_after = renamed::__private::core::option::Option::Some(
                renamed::__private::core::time::Duration::from_millis(600000),
            );
            options.max_resident = renamed::__private::core::option::Option::Some(1000);
            options.logic_version = 2;
            options
        };
        type Codec = renamed::__private::Postcard;
        type Snapshots = renamed::__private::Off;
        const PARTS: &'static [renamed::__private::core::option::Option<
            &'static renamed::__private::Part<Self>,
        >] = {
            use renamed::__private::NoPart as _;
            &[
                renamed::__private::Probe::<Self, 1>::FOUND,
                renamed::__private::Probe::<Self, 2>::FOUND,
                renamed::__private::Probe::<Self, 3>::FOUND,
                renamed::__private::Probe::<Self, 4>::FOUND,
                renamed::__private::Probe::<Self, 5>::FOUND,
                renamed::__private::Probe::<Self, 6>::FOUND,
                renamed::__private::Probe::<Self, 7>::FOUND,
                renamed::__private::Probe::<Self, 8>::FOUND,
                renamed::__private::Probe::<Self, 9>::FOUND,
                renamed::__private::Probe::<Self, 10>::FOUND,
                renamed::__private::Probe::<Self, 11>::FOUND,
                renamed::__private::Probe::<Self, 12>::FOUND,
                renamed::__private::Probe::<Self, 13>::FOUND,
                renamed::__private::Probe::<Self, 14>::FOUND,
                renamed::__private::Probe::<Self, 15>::FOUND,
                renamed::__private::Probe::<Self, 16>::FOUND,
            ]
        };
    }
    #[automatically_derived]
    impl renamed::__private::Schema for Account {
        fn schema() -> renamed::__private::Type {
            renamed::__private::Type::Defined(renamed::__private::Definition {
                name: "Account",
                path: renamed::__private::core::concat!(
                    renamed::__private::core::module_path!(), "::Account"
                ),
                serde: "",
                body: || renamed::__private::Body::Struct(
                    renamed::__private::std::vec![
                        renamed::__private::Field { name : "balance", shape : < i64 as
                        renamed::__private::Schema > ::schema(), serde : "" }
                    ],
                ),
            })
        }
    }
};
