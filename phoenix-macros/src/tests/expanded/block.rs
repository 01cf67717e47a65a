impl Account {
    const LIMIT: Cents = 1000;
    #[allow(
        clippy::needless_pass_by_value,
        clippy::trivially_copy_pass_by_ref,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        reason = "the shape of a handler is given"
    )]
    fn deposit(&self, command: Deposit) -> Result<Deposited, Refused> {
        Ok(Deposited {
            amount: command.amount,
        })
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::trivially_copy_pass_by_ref,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        reason = "the shape of a handler is given"
    )]
    fn deposited(&mut self, event: &Deposited) {
        self.balance += event.amount;
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::trivially_copy_pass_by_ref,
        clippy::unused_self,
        clippy::unnecessary_wraps,
        clippy::unused_async,
        reason = "the shape of a handler is given"
    )]
    fn balance(&self, _: Balance) -> Cents {
        self.balance
    }
    fn helper(&self) {}
}
#[allow(unused_qualifications, clippy::absolute_paths, reason = "generated")]
const _: () = {
    #[allow(unused_imports, reason = "for what is mistaken")]
    use ::phoenix_runtime::__private::{NoTable as _, Unknown as _};
    #[automatically_derived]
    impl ::phoenix_runtime::__private::HasOneCommandHandler<Deposit> for Account {
        const RUST: &'static ::phoenix_runtime::__private::core::primitive::str = "Deposit";
        type Reply = <Deposit as ::phoenix_runtime::__private::Command>::Reply;
        type Rejection = <Deposit as ::phoenix_runtime::__private::Command>::Rejection;
        const CREATES: ::phoenix_runtime::__private::core::primitive::bool = false;
        fn decider() -> ::phoenix_runtime::__private::Decider<
            Self,
            Deposit,
            <Deposit as ::phoenix_runtime::__private::Command>::Reply,
            <Deposit as ::phoenix_runtime::__private::Command>::Rejection,
        > {
            ::phoenix_runtime::__private::Decider::Sync(|sink, command, _| {
                let returned = <Self>::deposit(
                    ::phoenix_runtime::__private::Sink::state(sink),
                    command,
                );
                let settle: fn(
                    _,
                    &mut ::phoenix_runtime::__private::Sink<'_, Self>,
                ) -> _ = ::phoenix_runtime::__private::a_command_handler_returns::<
                    Self,
                    Deposit,
                    <Deposit as ::phoenix_runtime::__private::Command>::Reply,
                    <Deposit as ::phoenix_runtime::__private::Command>::Rejection,
                    ::phoenix_runtime::__private::FromTheState,
                    Result<Deposited, Refused>,
                >;
                settle(returned, sink)
            })
        }
        fn reply_after(
            &self,
        ) -> ::phoenix_runtime::__private::core::option::Option<
            <Deposit as ::phoenix_runtime::__private::Command>::Reply,
        > {
            let reply: <Deposit as ::phoenix_runtime::__private::Command>::Reply = self
                .balance;
            ::phoenix_runtime::__private::core::option::Option::Some(reply)
        }
    }
    const _: () = ::phoenix_runtime::__private::own_command(
        ::phoenix_runtime::__private::TableOf::<Account>::TABLE,
        1,
        "Deposit",
    );
    #[automatically_derived]
    impl ::phoenix_runtime::__private::HasOneEventHandler<Deposited> for Account {
        const RUST: &'static ::phoenix_runtime::__private::core::primitive::str = "Deposited";
        type Codec = <Account as ::phoenix_runtime::__private::Aggregate>::Codec;
        const VERSION: ::phoenix_runtime::__private::core::primitive::u32 = <Deposited as ::phoenix_runtime::__private::Event>::VERSION;
        fn evolve(&mut self, event: &Deposited) {
            <Self>::deposited(self, event);
        }
    }
    const _: () = ::phoenix_runtime::__private::own_event(
        ::phoenix_runtime::__private::TableOf::<Account>::TABLE,
        1,
        "Deposited",
    );
    #[automatically_derived]
    impl ::phoenix_runtime::__private::HasOneQueryHandler<Balance> for Account {
        const RUST: &'static ::phoenix_runtime::__private::core::primitive::str = "Balance";
        type Reply = <Balance as ::phoenix_runtime::__private::Query>::Reply;
        fn answer(
            &self,
            query: Balance,
        ) -> <Balance as ::phoenix_runtime::__private::Query>::Reply {
            let answer = <Self>::balance(self, query);
            ::phoenix_runtime::__private::IsTheAnswerTo::<
                Balance,
                <Balance as ::phoenix_runtime::__private::Query>::Reply,
            >::fit(answer)
        }
    }
    const _: () = ::phoenix_runtime::__private::own_query(
        ::phoenix_runtime::__private::TableOf::<Account>::TABLE,
        1,
        "Balance",
    );
    #[automatically_derived]
    impl ::phoenix_runtime::__private::GiveEachBlockItsOwnPart<1> for Account {
        type Codec = <Account as ::phoenix_runtime::__private::Aggregate>::Codec;
        const PART: &'static ::phoenix_runtime::__private::Part<Self> = &::phoenix_runtime::__private::Part {
            place: ::phoenix_runtime::__private::core::concat!(
                ::phoenix_runtime::__private::core::file!(), ":",
                ::phoenix_runtime::__private::core::line!()
            ),
            commands: &[::phoenix_runtime::__private::Row::<Self, Deposit>::COMMAND],
            events: &[::phoenix_runtime::__private::Row::<Self, Deposited>::EVENT],
            queries: &[::phoenix_runtime::__private::Row::<Self, Balance>::QUERY],
        };
    }
};
