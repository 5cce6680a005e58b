//! Every method of etcd's API and of the health protocol, by path.

/// How a method passes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One each way.
    Unary,
    /// One there, any number back.
    ServerStream,
    /// Any number there, one back.
    ClientStream,
    /// Any number either way.
    Bidirectional,
}

impl Kind {
    /// Its name, as metrics bear it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::ClientStream => "client_stream",
            Self::Bidirectional => "bidi_stream",
        }
    }
}

macro_rules! methods {
    ($( $name:ident = $service:literal $method:literal $kind:ident; )*) => {
        /// A method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        #[expect(missing_docs, reason = "each is named after the method")]
        pub enum Method {
            $( $name, )*
        }

        /// All methods, in the order of their numbers.
        pub const METHODS: &[Method] = &[$( Method::$name, )*];

        impl Method {
            /// The service, with its package.
            pub fn service(self) -> &'static str {
                match self { $( Self::$name => $service, )* }
            }

            /// The method's own name.
            pub fn name(self) -> &'static str {
                match self { $( Self::$name => $method, )* }
            }

            /// How it passes messages.
            pub fn kind(self) -> Kind {
                match self { $( Self::$name => Kind::$kind, )* }
            }
        }

        /// The method at a path (`/package.Service/Method`).
        pub fn find(path: &str) -> Option<Method> {
            match path {
                $( concat!("/", $service, "/", $method) => Some(Method::$name), )*
                _ => None,
            }
        }
    };
}

/// What is said of a path that is no method's, as `grpc-go` says it.
pub fn unknown(path: &str) -> String {
    match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if METHODS.iter().any(|known| known.service() == service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    }
}

methods! {
    Range = "etcdserverpb.KV" "Range" Unary;
    Put = "etcdserverpb.KV" "Put" Unary;
    DeleteRange = "etcdserverpb.KV" "DeleteRange" Unary;
    Txn = "etcdserverpb.KV" "Txn" Unary;
    Compact = "etcdserverpb.KV" "Compact" Unary;
    RangeStream = "etcdserverpb.KV" "RangeStream" ServerStream;
    Watch = "etcdserverpb.Watch" "Watch" Bidirectional;
    LeaseGrant = "etcdserverpb.Lease" "LeaseGrant" Unary;
    LeaseRevoke = "etcdserverpb.Lease" "LeaseRevoke" Unary;
    LeaseKeepAlive = "etcdserverpb.Lease" "LeaseKeepAlive" Bidirectional;
    LeaseTimeToLive = "etcdserverpb.Lease" "LeaseTimeToLive" Unary;
    LeaseLeases = "etcdserverpb.Lease" "LeaseLeases" Unary;
    MemberAdd = "etcdserverpb.Cluster" "MemberAdd" Unary;
    MemberRemove = "etcdserverpb.Cluster" "MemberRemove" Unary;
    MemberUpdate = "etcdserverpb.Cluster" "MemberUpdate" Unary;
    MemberList = "etcdserverpb.Cluster" "MemberList" Unary;
    MemberPromote = "etcdserverpb.Cluster" "MemberPromote" Unary;
    Alarm = "etcdserverpb.Maintenance" "Alarm" Unary;
    Status = "etcdserverpb.Maintenance" "Status" Unary;
    Defragment = "etcdserverpb.Maintenance" "Defragment" Unary;
    Hash = "etcdserverpb.Maintenance" "Hash" Unary;
    HashKv = "etcdserverpb.Maintenance" "HashKV" Unary;
    Snapshot = "etcdserverpb.Maintenance" "Snapshot" ServerStream;
    MoveLeader = "etcdserverpb.Maintenance" "MoveLeader" Unary;
    Downgrade = "etcdserverpb.Maintenance" "Downgrade" Unary;
    AuthEnable = "etcdserverpb.Auth" "AuthEnable" Unary;
    AuthDisable = "etcdserverpb.Auth" "AuthDisable" Unary;
    AuthStatus = "etcdserverpb.Auth" "AuthStatus" Unary;
    Authenticate = "etcdserverpb.Auth" "Authenticate" Unary;
    UserAdd = "etcdserverpb.Auth" "UserAdd" Unary;
    UserGet = "etcdserverpb.Auth" "UserGet" Unary;
    UserList = "etcdserverpb.Auth" "UserList" Unary;
    UserDelete = "etcdserverpb.Auth" "UserDelete" Unary;
    UserChangePassword = "etcdserverpb.Auth" "UserChangePassword" Unary;
    UserGrantRole = "etcdserverpb.Auth" "UserGrantRole" Unary;
    UserRevokeRole = "etcdserverpb.Auth" "UserRevokeRole" Unary;
    RoleAdd = "etcdserverpb.Auth" "RoleAdd" Unary;
    RoleGet = "etcdserverpb.Auth" "RoleGet" Unary;
    RoleList = "etcdserverpb.Auth" "RoleList" Unary;
    RoleDelete = "etcdserverpb.Auth" "RoleDelete" Unary;
    RoleGrantPermission = "etcdserverpb.Auth" "RoleGrantPermission" Unary;
    RoleRevokePermission = "etcdserverpb.Auth" "RoleRevokePermission" Unary;
    Campaign = "v3electionpb.Election" "Campaign" Unary;
    Proclaim = "v3electionpb.Election" "Proclaim" Unary;
    Leader = "v3electionpb.Election" "Leader" Unary;
    Observe = "v3electionpb.Election" "Observe" ServerStream;
    Resign = "v3electionpb.Election" "Resign" Unary;
    Lock = "v3lockpb.Lock" "Lock" Unary;
    Unlock = "v3lockpb.Lock" "Unlock" Unary;
    HealthCheck = "grpc.health.v1.Health" "Check" Unary;
    HealthWatch = "grpc.health.v1.Health" "Watch" ServerStream;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_path_and_numbered_in_order() {
        for (number, method) in METHODS.iter().enumerate() {
            assert_eq!(*method as usize, number);
            let path = format!("/{}/{}", method.service(), method.name());
            assert_eq!(find(&path), Some(*method));
        }
        assert_eq!(find("/etcdserverpb.KV/Get"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn what_is_unknown_is_said_as_etcd_says_it() {
        for (path, text) in [
            ("/etcdserverpb.KV/Get", "unknown method Get for service etcdserverpb.KV"),
            ("/etcdserverpb.No/Get", "unknown service etcdserverpb.No"),
            ("/etcdserverpb.KV", "malformed method name: \"/etcdserverpb.KV\""),
        ] {
            assert_eq!(unknown(path), text);
        }
    }
}
