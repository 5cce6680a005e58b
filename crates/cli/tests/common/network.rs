//! A network between real members that can be cut: each is reached by its peers through here.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The first bytes of a link, as far as the caller's id in its hello: the header, the magic
/// number and the cluster come before it (`driftless-codec`, `frame.rs` and `hello.rs`).
const HELLO_BYTES: usize = 40;
const CALLER_AT: usize = 32;

/// Connections between members, and who is cut off from all others.
#[derive(Clone, Default)]
pub(crate) struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: Option<u64>,
    /// Both ends of each connection, and between whom it is.
    open: Vec<(u64, u64, [TcpStream; 2])>,
}

impl Network {
    /// Takes calls for member `id` at `port`, and passes them on to where it listens.
    pub(crate) fn lead_to(&self, id: u64, port: u16, to: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("it was free");
        let network = self.clone();
        thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                let network = network.clone();
                // What fails is as if the network had lost it: members call again.
                thread::spawn(move || network.connect(caller, id, to));
            }
        });
    }

    fn connect(&self, mut caller: TcpStream, id: u64, to: u16) -> Option<()> {
        let mut hello = [0; HELLO_BYTES];
        caller.read_exact(&mut hello).ok()?;
        let from = u64::from_le_bytes(hello[CALLER_AT..].try_into().expect("eight bytes"));
        let mut callee = TcpStream::connect(("127.0.0.1", to)).ok()?;
        {
            let mut state = self.state.lock().expect("nobody panics with it");
            if state.cut.is_some_and(|cut| cut == from || cut == id) {
                return None;
            }
            let ends = [caller.try_clone().ok()?, callee.try_clone().ok()?];
            state.open.push((from, id, ends));
        }
        callee.write_all(&hello).ok()?;
        let (caller_too, callee_too) = (caller.try_clone().ok()?, callee.try_clone().ok()?);
        thread::spawn(move || pass_on(callee_too, caller_too));
        pass_on(caller, callee);
        Some(())
    }

    /// Cuts one member off from the others: what is on its way is lost, nobody connects.
    pub(crate) fn cut(&self, id: u64) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.cut = Some(id);
        let of_it = |(from, to, _): &mut (u64, u64, _)| *from == id || *to == id;
        for (_, _, ends) in state.open.extract_if(.., of_it) {
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Everybody reaches everybody again.
    pub(crate) fn heal(&self) {
        self.state.lock().expect("nobody panics with it").cut = None;
    }
}

/// Until either end is gone.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
