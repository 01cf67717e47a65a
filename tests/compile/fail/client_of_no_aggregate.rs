use phoenix_runtime::client::Client;

struct Account;

fn accounts(client: &Client) {
    let _ = client.of::<Account>();
}

fn main() {}
