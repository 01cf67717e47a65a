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
    #[allow(unused_imports, reason = "for what is mistaken")]
    use renamed::__private::{NoTable as _, Unknown as _};
    #[cfg(unix)]
    #[automatically_derived]
    impl renamed::__private::HasOneCommandHandler<api::Convert> for Account {
        const RUST: &'static renamed::__private::core::primitive::str = "api::Convert";
        type Reply = <api::Convert as renamed::__private::Command>::Reply;
        type Rejection = <api::Convert as renamed::__private::Command>::Rejection;
        const NEEDS: &'static [renamed::__private::Needs] = &[
            renamed::__private::Needs::of::<Rates>("Rates"),
            renamed::__private::Needs::of::<store::Cache<u8>>("store::Cache<u8>"),
        ];
        const IS_ASYNC: renamed::__private::core::primitive::bool = true;
        fn decider() -> renamed::__private::Decider<
            Self,
            api::Convert,
            <api::Convert as renamed::__private::Command>::Reply,
            <api::Convert as renamed::__private::Command>::Rejection,
        > {
            renamed::__private::Decider::Async(|state, command, context| renamed::__private::std::boxed::Box::pin(async move {
                let returned = <Self>::convert(&state, command, &context).await;
                let finish: renamed::__private::Finish<
                    Self,
                    <api::Convert as renamed::__private::Command>::Reply,
                    <api::Convert as renamed::__private::Command>::Rejection,
                > = renamed::__private::std::boxed::Box::new(move |sink| {
                    let settle: fn(_, &mut renamed::__private::Sink<'_, Self>) -> _ = renamed::__private::a_command_handler_returns::<
                        Self,
                        api::Convert,
                        <api::Convert as renamed::__private::Command>::Reply,
                        <api::Convert as renamed::__private::Command>::Rejection,
                        renamed::__private::WithTheEvents,
                        (Converted, Reply<Cents>),
                    >;
                    settle(returned, sink)
                });
                (state, finish)
            }))
        }
    }
    #[cfg(unix)]
    const _: () = renamed::__private::own_command(
        renamed::__private::TableOf::<Account>::TABLE,
        2,
        "api::Convert",
    );
    #[automatically_derived]
    impl renamed::__private::HasOneCommandHandler<Touch> for Account {
        const RUST: &'static renamed::__private::core::primitive::str = "Touch";
        type Reply = <Touch as renamed::__private::Command>::Reply;
        type Rejection = <Touch as renamed::__private::Command>::Rejection;
        const IS_ASYNC: renamed::__private::core::primitive::bool = true;
        fn decider() -> renamed::__private::Decider<
            Self,
            Touch,
            <Touch as renamed::__private::Command>::Reply,
            <Touch as renamed::__private::Command>::Rejection,
        > {
            renamed::__private::Decider::Async(|state, command, context| renamed::__private::std::boxed::Box::pin(async move {
                let _ = context;
                let returned = <Self>::touch(&state, command).await;
                let finish: renamed::__private::Finish<
                    Self,
                    <Touch as renamed::__private::Command>::Reply,
                    <Touch as renamed::__private::Command>::Rejection,
                > = renamed::__private::std::boxed::Box::new(move |sink| {
                    let settle: fn(_, &mut renamed::__private::Sink<'_, Self>) -> _ = renamed::__private::a_command_handler_returns::<
                        Self,
                        Touch,
                        <Touch as renamed::__private::Command>::Reply,
                        <Touch as renamed::__private::Command>::Rejection,
                        renamed::__private::WithTheEvents,
                        (),
                    >;
                    settle(returned, sink)
                });
                (state, finish)
            }))
        }
    }
    const _: () = renamed::__private::own_command(
        renamed::__private::TableOf::<Account>::TABLE,
        2,
        "Touch",
    );
    #[automatically_derived]
    impl renamed::__private::HasOneCommandHandler<Close> for Account {
        const RUST: &'static renamed::__private::core::primitive::str = "Close";
        type Reply = <Close as renamed::__private::Command>::Reply;
        type Rejection = <Close as renamed::__private::Command>::Rejection;
        fn decider() -> renamed::__private::Decider<
            Self,
            Close,
            <Close as renamed::__private::Command>::Reply,
            <Close as renamed::__private::Command>::Rejection,
        > {
            renamed::__private::Decider::Sync(|sink, command, context| {
                let returned = <Self>::close(
                    renamed::__private::Sink::state(sink),
                    command,
                    context,
                );
                let settle: fn(_, &mut renamed::__private::Sink<'_, Self>) -> _ = renamed::__private::a_command_handler_returns::<
                    Self,
                    Close,
                    <Close as renamed::__private::Command>::Reply,
                    <Close as renamed::__private::Command>::Rejection,
                    renamed::__private::WithTheEvents,
                    Option<Closed>,
                >;
                settle(returned, sink)
            })
        }
    }
    const _: () = renamed::__private::own_command(
        renamed::__private::TableOf::<Account>::TABLE,
        2,
        "Close",
    );
    #[automatically_derived]
    impl renamed::__private::GiveEachBlockItsOwnPart<2> for Account {
        type Codec = <Account as renamed::__private::Aggregate>::Codec;
        const PART: &'static renamed::__private::Part<Self> = &renamed::__private::Part {
            place: renamed::__private::core::concat!(
                renamed::__private::core::file!(), ":", renamed::__private::core::line!()
            ),
            commands: &[
                #[cfg(unix)]
                renamed::__private::Row::<Self, api::Convert>::COMMAND,
                renamed::__private::Row::<Self, Touch>::COMMAND,
                renamed::__private::Row::<Self, Close>::COMMAND,
            ],
            events: &[],
            queries: &[],
        };
    }
};
