//! The filter of the pod's PID 1.

/// `sock_filter`s for `wait4`, `rt_sigtimedwait`, `rt_sigreturn`, `exit_group` and `write`;
/// everything else kills the pod.
pub fn program() -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    const ARCH: u32 = 0xc000_003e;
    #[cfg(target_arch = "x86_64")]
    const CALLS: [u32; 5] = [61, 128, 15, 231, 1];
    #[cfg(target_arch = "aarch64")]
    const ARCH: u32 = 0xc000_00b7;
    #[cfg(target_arch = "aarch64")]
    const CALLS: [u32; 5] = [260, 137, 139, 94, 64];
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const KILL_PROCESS: u32 = 0x8000_0000;

    let mut all: Vec<(u16, u8, u8, u32)> =
        vec![(LOAD, 0, 0, 4), (JUMP_EQUAL, 0, 6, ARCH), (LOAD, 0, 0, 0)];
    for (left, call) in (0..CALLS.len() as u8).rev().zip(CALLS) {
        all.push((JUMP_EQUAL, left + 1, 0, call));
    }
    all.push((RETURN, 0, 0, KILL_PROCESS));
    all.push((RETURN, 0, 0, ALLOW));
    // The wrong architecture must land on the kill, five comparisons and one load further on.
    all.into_iter()
        .flat_map(|(code, jt, jf, k)| {
            let mut out = Vec::with_capacity(8);
            out.extend(code.to_ne_bytes());
            out.extend([jt, jf]);
            out.extend(k.to_ne_bytes());
            out
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the program for one call, as the kernel would.
    fn verdict(arch: u32, call: u32) -> u32 {
        let bytes = program();
        let code: Vec<_> = bytes.chunks_exact(8).collect();
        let mut at = 0usize;
        let mut acc = 0u32;
        loop {
            let i = code[at];
            let k = u32::from_ne_bytes(i[4..8].try_into().unwrap());
            match u16::from_ne_bytes([i[0], i[1]]) {
                0x20 => acc = if k == 4 { arch } else { call },
                0x15 => at += usize::from(if acc == k { i[2] } else { i[3] }),
                0x06 => return k,
                other => panic!("unknown instruction {other:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn init_has_five_calls_and_no_more() {
        let native = 0xc000_003e;
        let allowed: Vec<u32> = (0..600)
            .filter(|c| verdict(native, *c) == 0x7fff_0000)
            .collect();
        #[cfg(target_arch = "x86_64")]
        assert_eq!(allowed, [1, 15, 61, 128, 231]);
        for call in [1, 61, 231] {
            assert_eq!(verdict(0x4000_0003, call), 0x8000_0000, "i386 is refused");
        }
    }
}
