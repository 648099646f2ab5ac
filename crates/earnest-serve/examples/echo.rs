//! The built-in model by itself, for clients and benches: `echo PORT [FIRST_MS [TOKEN_MS]]`.

use std::net::Ipv4Addr;
use std::time::Duration;

use earnest_serve::echo::Echo;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u16>());
    let mut next = || numbers.next().transpose().map(Option::unwrap_or_default);
    let (port, first, token) = (next()?, next()?, next()?);
    let delays = [first, token].map(|millis| Duration::from_millis(millis.into()));
    let echo = Echo { delay_first: delays[0], delay_token: delays[1], ..Echo::default() };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("http://{}/v1", listener.local_addr()?);
    use axum::serve::ListenerExt;
    // A model token at a time: none may wait for the next in the socket.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    Ok(axum::serve(listener, echo.router()).await?)
}
