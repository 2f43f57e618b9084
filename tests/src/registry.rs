//! A real registry: Debian's docker-registry on the world's loopback.

use std::time::Duration;

use crate::world::wait_for;
use crate::{Output, World};

/// Plain HTTP on 127.0.0.1:5000 of its world, storage below `/srv/registry`.
#[derive(Debug)]
pub struct Registry<'w> {
    world: &'w World,
}

impl<'w> Registry<'w> {
    /// Host and port, as in an image's name.
    pub const HOST: &'static str = "127.0.0.1:5000";

    /// Starts it; it ends with the world.
    #[track_caller]
    pub fn start(world: &'w World) -> Self {
        let config = "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n\
            storage: {filesystem: {rootdirectory: /srv/registry}, delete: {enabled: true}}\n\
            http: {addr: 127.0.0.1:5000}\n";
        world.write("/srv/etc/registry.yml", config);
        world.helper("docker-registry", "serve /srv/etc/registry.yml");
        let up = wait_for(Duration::from_secs(10), || {
            let address = Self::HOST.parse().unwrap();
            world.space().inside_network(|| crate::http::get(address, "/v2/")).is_ok()
        });
        assert!(up, "docker-registry does not answer on {}", Self::HOST);
        world.rebase();
        Self { world }
    }

    /// Copies an image into it with skopeo; `source` in skopeo's words, such as
    /// `docker-archive:/srv/x.tar`.
    #[track_caller]
    pub fn push(&self, source: &str, name: &str) -> Output {
        let target = format!("docker://{}/{name}", Self::HOST);
        let args =
            ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", source, target.as_str()];
        self.world.job("skopeo", args).limit(Duration::from_secs(120)).run().success()
    }

    /// Writes a docker-archive and pushes it.
    #[track_caller]
    pub fn push_archive(&self, archive: &[u8], name: &str) -> Output {
        self.world.write("/srv/push.tar", archive);
        self.push("docker-archive:/srv/push.tar", name)
    }

    /// The blobs it stores, largest first, as paths of the world.
    pub fn blobs(&self) -> Vec<String> {
        let find = "find /srv/registry -path '*/blobs/*' -name data -printf '%s %p\\n' | sort -rn";
        let listed = self.world.sh(find).success();
        listed.stdout.lines().filter_map(|l| Some(l.split_once(' ')?.1.to_owned())).collect()
    }
}
