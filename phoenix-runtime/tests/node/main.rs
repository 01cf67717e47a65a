//! A node from the outside: its configuration, its HTTP gateway over real connections, its life.

mod account;
mod call;
mod config;
mod docs;
mod faults;
mod gateway;
mod inspect;
mod life;
mod operator;
