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
    const _: () = {
        struct __Handler;
        #[automatically_derived]
        impl ::phoenix_runtime::__private::Returns<Account, Deposit> for __Handler {
            type How = ::phoenix_runtime::__private::Computed;
            type Returned = Result<Deposited, Refused>;
        }
        #[automatically_derived]
        impl ::phoenix_runtime::__private::Decides<Deposit> for Account {
            const RUST: &'static ::phoenix_runtime::__private::core::primitive::str = "Deposit";
            const CREATES: ::phoenix_runtime::__private::core::primitive::bool = false;
            const DECIDER: ::phoenix_runtime::__private::Decider<Self, Deposit> = ::phoenix_runtime::__private::Decider::Sync(|
                sink,
                command,
                _|
            {
                let returned = <Self>::deposit(
                    ::phoenix_runtime::__private::Sink::state(sink),
                    command,
                );
                <__Handler as ::phoenix_runtime::__private::Returns<
                    Self,
                    Deposit,
                >>::settle(returned, sink)
            });
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
    };
    const _: () = ::phoenix_runtime::__private::own_command::<Account>(1, "Deposit");
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Evolves<Deposited> for Account {
        const RUST: &'static ::phoenix_runtime::__private::core::primitive::str = "Deposited";
        fn evolve(&mut self, event: &Deposited) {
            <Self>::deposited(self, event);
        }
    }
    const _: () = ::phoenix_runtime::__private::own_event::<Account>(1, "Deposited");
    #[automatically_derived]
    impl ::phoenix_runtime::__private::Answers<Balance> for Account {
        const RUST: &'static ::phoenix_runtime::__private::core::primitive::str = "Balance";
        fn answer(
            &self,
            query: Balance,
        ) -> <Balance as ::phoenix_runtime::__private::Query>::Reply {
            let answer = <Self>::balance(self, query);
            ::phoenix_runtime::__private::AnswerFits::<
                Balance,
                <Balance as ::phoenix_runtime::__private::Query>::Reply,
            >::fit(answer)
        }
    }
    const _: () = ::phoenix_runtime::__private::own_query::<Account>(1, "Balance");
    #[automatically_derived]
    impl ::phoenix_runtime::__private::PartAt<1> for Account {
        const PART: &'static ::phoenix_runtime::__private::Part<Self> = &::phoenix_runtime::__private::Part {
            place: ::phoenix_runtime::__private::core::concat!(
                ::phoenix_runtime::__private::core::file!(), ":",
                ::phoenix_runtime::__private::core::line!()
            ),
            commands: &[<Self as ::phoenix_runtime::__private::Decides<Deposit>>::ENTRY],
            events: &[<Self as ::phoenix_runtime::__private::Evolves<Deposited>>::ENTRY],
            queries: &[<Self as ::phoenix_runtime::__private::Answers<Balance>>::ENTRY],
        };
    }
};
