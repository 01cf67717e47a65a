#[cfg(feature = "rates")]
impl Account {
    /// Asks for the rate first.
    #[cfg(unix)]
    #[allow(
        clippy::needless_pass_by_value,
        clippy::trivially_copy_pass_by_ref,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        reason = "the shape of a handler is given"
    )]
    async fn convert(
        &self,
        command: api::Convert,
        context: &Context,
    ) -> (Converted, Reply<Cents>) {
        todo!()
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::trivially_copy_pass_by_ref,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        reason = "the shape of a handler is given"
    )]
    async fn touch(&self, _: Touch) {}
    #[allow(
        clippy::needless_pass_by_value,
        clippy::trivially_copy_pass_by_ref,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        reason = "the shape of a handler is given"
    )]
    fn close(&self, _: Close, context: &Context) -> Option<Closed> {
        None
    }
}
#[cfg(feature = "rates")]
#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[cfg(unix)]
    const _: () = {
        struct __Handler;
        #[automatically_derived]
        impl renamed::__private::Returns<Account, api::Convert> for __Handler {
            type How = renamed::__private::Fixed;
            type Returned = (Converted, Reply<Cents>);
        }
        #[automatically_derived]
        impl renamed::__private::Decides<api::Convert> for Account {
            const RUST: &'static renamed::__private::core::primitive::str = "api::Convert";
            const NEEDS: &'static [renamed::__private::Needs] = &[
                renamed::__private::Needs::of::<Rates>("Rates"),
                renamed::__private::Needs::of::<store::Cache<u8>>("store::Cache<u8>"),
            ];
            const DECIDER: renamed::__private::Decider<Self, api::Convert> = renamed::__private::Decider::Async(|
                state,
                command,
                context|
            renamed::__private::std::boxed::Box::pin(async move {
                let returned = <Self>::convert(&state, command, &context).await;
                let finish: renamed::__private::Finish<Self, api::Convert> = renamed::__private::std::boxed::Box::new(move |
                    sink|
                <__Handler as renamed::__private::Returns<
                    Self,
                    api::Convert,
                >>::settle(returned, sink));
                (state, finish)
            }));
        }
    };
    #[cfg(unix)]
    const _: () = renamed::__private::own_command::<Account>(2, "api::Convert");
    const _: () = {
        struct __Handler;
        #[automatically_derived]
        impl renamed::__private::Returns<Account, Touch> for __Handler {
            type How = renamed::__private::Fixed;
            type Returned = ();
        }
        #[automatically_derived]
        impl renamed::__private::Decides<Touch> for Account {
            const RUST: &'static renamed::__private::core::primitive::str = "Touch";
            const DECIDER: renamed::__private::Decider<Self, Touch> = renamed::__private::Decider::Async(|
                state,
                command,
                context|
            renamed::__private::std::boxed::Box::pin(async move {
                let _ = context;
                let returned = <Self>::touch(&state, command).await;
                let finish: renamed::__private::Finish<Self, Touch> = renamed::__private::std::boxed::Box::new(move |
                    sink|
                <__Handler as renamed::__private::Returns<
                    Self,
                    Touch,
                >>::settle(returned, sink));
                (state, finish)
            }));
        }
    };
    const _: () = renamed::__private::own_command::<Account>(2, "Touch");
    const _: () = {
        struct __Handler;
        #[automatically_derived]
        impl renamed::__private::Returns<Account, Close> for __Handler {
            type How = renamed::__private::Fixed;
            type Returned = Option<Closed>;
        }
        #[automatically_derived]
        impl renamed::__private::Decides<Close> for Account {
            const RUST: &'static renamed::__private::core::primitive::str = "Close";
            const DECIDER: renamed::__private::Decider<Self, Close> = renamed::__private::Decider::Sync(|
                sink,
                command,
                context|
            {
                let returned = <Self>::close(
                    renamed::__private::Sink::state(sink),
                    command,
                    context,
                );
                <__Handler as renamed::__private::Returns<
                    Self,
                    Close,
                >>::settle(returned, sink)
            });
        }
    };
    const _: () = renamed::__private::own_command::<Account>(2, "Close");
    #[automatically_derived]
    impl renamed::__private::PartAt<2> for Account {
        const PART: &'static renamed::__private::Part<Self> = &renamed::__private::Part {
            place: renamed::__private::core::concat!(
                renamed::__private::core::file!(), ":", renamed::__private::core::line!()
            ),
            commands: &[
                #[cfg(unix)]
                <Self as renamed::__private::Decides<api::Convert>>::ENTRY,
                <Self as renamed::__private::Decides<Touch>>::ENTRY,
                <Self as renamed::__private::Decides<Close>>::ENTRY,
            ],
            events: &[],
            queries: &[],
        };
    }
};
