//! The own container id, from the text of files in /proc.

/// Digits of a container id: a SHA-256.
const ID_DIGITS: usize = 64;

/// The container id that the lines of a cgroup or cpuset file name: of the last line that has one, its last.
///
/// Takes what container runtimes write: `/docker/<id>`, `/kubepods/…/pod<uid>/<id>`, and under systemd
/// `…/cri-containerd-<id>.scope`, `docker-<id>.scope`, `crio-<id>.scope`.
pub fn in_cgroup(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|line| {
        line.split(['/', ':', '-', '.'])
            .rev()
            .find(|part| part.len() == ID_DIGITS && part.bytes().all(is_id_digit))
    })
}

fn is_id_digit(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

    #[test]
    fn ids_are_found_in_what_runtimes_write() {
        let v1 = "12:pids:/kubepods/besteffort/pod0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f/ID\n1:name=systemd:/kubepods/ID\n";
        let two = format!("5:cpu:/docker/{OTHER}\n4:memory:/docker/ID\n");
        for (text, found) in [
            ("0::/docker/ID\n", true),
            ("11:memory:/docker/ID", true),
            (v1, true),
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b.slice/cri-containerd-ID.scope\n",
                true,
            ),
            ("0::/system.slice/docker-ID.scope", true),
            ("1:name=systemd:/machine.slice/crio-ID.scope\n", true),
            ("0::/machine.slice/libpod-ID.scope/container\n", true),
            ("13:cpuset:/\n12:cpu:/kubepods/ID\n0::/\n", true),
            (&two, true),
            ("/kubepods/besteffort/pod0a1b/ID\n", true),
            ("0::/\n", false),
            ("", false),
            ("0::/docker/0123456789abcdef\n", false),
            ("0::/docker/IDa\n", false),
            ("0::/user.slice/user-1000.slice/session-1.scope\n", false),
            (
                "0::/docker/0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
                false,
            ),
            ("0::/docker/../../../etc/passwd", false),
        ] {
            let text = text.replace("ID", ID);
            let expected = found.then_some(ID);
            assert_eq!(in_cgroup(&text), expected, "{text}");
        }
    }
}
