//! What the server and a sandbox's init say to each other: one message a packet, little-endian, no padding.
//!
//! The only definition of the protocol: the init crate compiles this file and the server includes it by path. It must
//! not know sockets or processes. Every decoder checks every length, because the server treats init as hostile.

/// Bumped with every change of a message, so that a server and a stale init binary refuse each other.
pub const VERSION: u32 = 2;
/// The longest packet, in bytes. The kernel's default socket buffer holds it.
pub const MAX_MESSAGE: usize = 160 * 1024;
/// The most file descriptors one packet carries.
pub const MAX_FDS: usize = 16;
/// The one user and group id that exists inside.
pub const INSIDE_ID: u32 = 1000;
/// Where the egress listeners wait, in the order in which [`Event::Ready`] carries them after DNS.
pub const HTTP_PORT: u16 = 80;
/// See [`HTTP_PORT`].
pub const HTTPS_PORT: u16 = 443;
/// The address of the name server inside.
pub const DNS_ADDRESS: [u8; 4] = [127, 0, 0, 53];

/// A packet that is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Something that travels.
pub trait Wire: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes its bytes from the front.
    fn take(input: &mut &[u8]) -> Result<Self, Malformed>;

    /// The whole packet.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.put(&mut out);
        out
    }

    /// Reads a whole packet; bytes left over are an error.
    fn decode(mut input: &[u8]) -> Result<Self, Malformed> {
        let value = Self::take(&mut input)?;
        if input.is_empty() { Ok(value) } else { Err(Malformed) }
    }
}

macro_rules! wire_number {
    ($($kind:ty),*) => { $(
        impl Wire for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                let (bytes, rest) = input.split_first_chunk().ok_or(Malformed)?;
                *input = rest;
                Ok(Self::from_le_bytes(*bytes))
            }
        }
    )* };
}

wire_number!(u8, u16, u32, u64, i32);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

/// A byte string: paths, arguments and file contents need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl<T: AsRef<[u8]>> From<T> for Text {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl Wire for Text {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        let length = u32::take(input)? as usize;
        let (bytes, rest) = input.split_at_checked(length).ok_or(Malformed)?;
        *input = rest;
        Ok(Self(bytes.to_vec()))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for item in self {
            item.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
        let length = u32::take(input)? as usize;
        // Every item is at least a byte, so a forged length cannot make us reserve more than we were sent.
        if length > input.len() {
            return Err(Malformed);
        }
        (0..length).map(|_| T::take(input)).collect()
    }
}

/// A length that does not fit is sent as a value no packet can hold, so that the other side refuses it.
fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).put(out);
}

macro_rules! wire_struct {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                Ok(Self { $($field: Wire::take(input)?,)* })
            }
        }
    };
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $tag:literal $case:ident { $($field:ident: $kind:ty),* },)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$case_doc])* $case { $($field: $kind),* },)* }

        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$case { $($field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }
            fn take(input: &mut &[u8]) -> Result<Self, Malformed> {
                match u8::take(input)? {
                    $($tag => Ok(Self::$case { $($field: Wire::take(input)?),* }),)*
                    _ => Err(Malformed),
                }
            }
        }
    };
}

wire_struct! {
    /// A read-only tree of the host, seen inside.
    Mount {
        /// Where it is on the host.
        source: Text,
        /// Where it appears inside.
        target: Text,
        /// Whether it is writable; only the workspace and the state folder are.
        writable: bool,
    }
}

wire_struct! {
    /// A symbolic link made in the sandbox's root.
    Link {
        /// What it says.
        to: Text,
        /// Where it is.
        at: Text,
    }
}

wire_struct! {
    /// A file made in the sandbox's root (`/etc/hosts` and its like).
    File {
        /// Where it is.
        at: Text,
        /// What it holds.
        content: Text,
    }
}

wire_struct! {
    /// The first packet, from the server: everything init needs to build the sandbox.
    Setup {
        /// [`VERSION`].
        version: u32,
        /// The host's user id that [`INSIDE_ID`] stands for.
        host_uid: u32,
        /// The host's group id that [`INSIDE_ID`] stands for.
        host_gid: u32,
        /// Whether the server may map and drop groups at will (it is root on the host).
        privileged: bool,
        /// The name of the machine inside.
        hostname: Text,
        /// The working directory of commands; one of the writable mounts.
        home: Text,
        /// Trees of the host.
        mounts: Vec<Mount>,
        /// Links in the root.
        links: Vec<Link>,
        /// Files in the root.
        files: Vec<File>,
        /// Size of `/tmp` in bytes.
        tmp_bytes: u64,
        /// Processes and threads, counted in the sandbox's own user namespace.
        processes: u64,
        /// Files one process may have open.
        open_files: u64,
        /// The largest file in bytes.
        file_bytes: u64,
        /// Data of one process in bytes; 0 where a control group limits memory.
        data_bytes: u64,
    }
}

wire_enum! {
    /// From the server to init.
    Request {
        /// Starts a command. Carries its stdin, stdout and stderr; with `terminal` stdin becomes its controlling terminal.
        1 Exec { id: u32, argv: Vec<Text>, env: Vec<Text>, cwd: Text, terminal: bool },
        /// Signals all processes of a command.
        2 Signal { id: u32, signal: i32 },
        /// Asks for TCP sockets that belong to the sandbox's network.
        3 Sockets { id: u32, v4: u8, v6: u8 },
        /// Asks what the sandbox uses.
        4 Usage { id: u32 },
        /// Kills every command with all it started; init stays.
        5 KillAll { },
        /// Asks for a new terminal of this size.
        6 Terminal { id: u32, columns: u16, rows: u16 },
        /// Asks for the root directory, so that the server can reach files where only this sandbox has them.
        7 Root { id: u32 },
        /// Stops every process but init, or lets all go on.
        8 Freeze { frozen: bool },
        /// Asks which process holds the TCP socket with this local and this remote port.
        20 Owner { id: u32, local: u16, remote: u16 },
    }
}

wire_enum! {
    /// From init to the server.
    Event {
        /// The sandbox's first process exists. Carries a pidfd.
        1 Born { pid: u32 },
        /// The sandbox is ready. Carries the DNS, HTTP and HTTPS sockets.
        2 Ready { landlock: bool },
        /// It could not be built: which step, the error number and what it was about.
        3 Refused { step: Text, errno: i32 },
        /// A command runs.
        4 Started { id: u32, pid: u32 },
        /// A command could not be started.
        5 Failed { id: u32, errno: i32, step: Text },
        /// A command's own process ended; what it started may live on.
        6 Exited { id: u32, code: i32, signal: i32 },
        /// Nothing of a command is left.
        7 Gone { id: u32 },
        /// Sockets, the IPv4 ones first.
        8 Sockets { id: u32 },
        /// What the sandbox uses, and the process that has the most memory.
        9 Usage { id: u32, memory: u64, processes: u64, cpu_ms: u64, largest: Text },
        /// A new terminal: the side of the server, then the side of the command. None if it could not be made.
        10 Terminal { id: u32 },
        /// The root directory.
        11 Root { id: u32 },
        /// The program that holds the socket asked for; empty if none was found.
        20 Owner { id: u32, program: Text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let exec = Request::Exec {
            id: 7,
            argv: vec!["sh".into(), "-c".into(), b"\xff\0".into()],
            env: vec![],
            cwd: "/home/user".into(),
            terminal: true,
        };
        assert_eq!(Request::decode(&exec.encode()), Ok(exec));
        let setup = Setup { mounts: vec![Mount { writable: true, ..Mount::default() }], ..Setup::default() };
        assert_eq!(Setup::decode(&setup.encode()), Ok(setup));
    }

    #[test]
    fn no_cut_or_forged_packet_is_taken_for_a_message() {
        let packet = Event::Failed { id: 1, errno: 2, step: "run the program".into() }.encode();
        for length in 0..packet.len() {
            assert_eq!(Event::decode(&packet[..length]), Err(Malformed));
        }
        assert_eq!(Event::decode(&[packet, vec![0]].concat()), Err(Malformed), "bytes left over");
        assert_eq!(Event::decode(&[200]), Err(Malformed), "unknown message");
        assert_eq!(Vec::<u8>::decode(&[255, 255, 255, 255, 1]), Err(Malformed), "more items than bytes");
        assert_eq!(Text::decode(&[255, 255, 255, 127, 1]), Err(Malformed), "more text than bytes");
        assert_eq!(bool::decode(&[2]), Err(Malformed));
    }
}
