using System.Text;

namespace Vmm.Hole;

/// <summary>Where an attempt is made.</summary>
/// <param name="Directory">Of the test: 'own.img' is the device's, 'other.img' is not.</param>
/// <param name="Victim">Another process.</param>
/// <param name="VictimAddress">Memory of it that can be written.</param>
/// <param name="Port">Where a program of this host listens over TCP.</param>
internal sealed record Surroundings(string Directory, int Victim, long VictimAddress, int Port)
{
    /// <summary>Memory of another guest's device: of this process, or of the victim.</summary>
    internal long NeighbourAddress { get; init; } = VictimAddress;

    internal string Of(string name) => Path.Combine(Directory, name);
}

/// <summary>What an attacker tries who took a device over. Each gives a negative number if it is stopped.</summary>
internal static class Attempts
{
    private const long Here = -100, ReadOnly = 0, WriteOnly = 1, ReadWrite = 2, Create = 0x40, Directory = 0x10000;
    private const long SIGCONT = 18;

    internal static IReadOnlyDictionary<string, Func<HoleGuest, Surroundings, long>> All { get; } = new Dictionary<string, Func<HoleGuest, Surroundings, long>>
    {
        ["read /etc/shadow"] = (g, _) => Open(g, "/etc/shadow", ReadOnly),
        ["read /etc/shadow on the runtime's thread"] = (g, _) => g.CallElsewhere(257, Here, g.Text("/etc/shadow"), ReadOnly, 0),
        ["write another disk"] = (g, s) => Then(Open(g, s.Of("other.img"), ReadWrite), fd => g.Call(18, fd, g.Bytes(1, 2, 3), 3, 0)),
        ["make a file"] = (g, s) => Open(g, s.Of("planted"), WriteOnly | Create),
        ["list /root"] = (g, _) => Then(Open(g, "/root", Directory), fd => g.Call(217, fd, g.Bytes(new byte[256]), 256)),
        ["make a directory"] = (g, s) => g.Call(258, Here, g.Text(s.Of("made")), 0x1c0),
        ["make a symbolic link"] = (g, s) => g.Call(266, g.Text("/etc/shadow"), Here, g.Text(s.Of("link"))),
        ["make a hard link"] = (g, s) => g.Call(265, Here, g.Text(s.Of("other.img")), Here, g.Text(s.Of("hard")), 0),
        ["rename a file"] = (g, s) => g.Call(82, g.Text(s.Of("other.img")), g.Text(s.Of("renamed"))),
        ["remove a file"] = (g, s) => g.Call(87, g.Text(s.Of("other.img"))),
        ["truncate a file by its path"] = (g, s) => g.Call(76, g.Text(s.Of("other.img")), 0),
        ["change a file's mode"] = (g, s) => g.Call(268, Here, g.Text(s.Of("other.img")), 0x1ff),
        ["give a file away"] = (g, s) => g.Call(260, Here, g.Text(s.Of("other.img")), 65534, 65534, 0),
        ["set an extended attribute"] = (g, s) => g.Call(188, g.Text(s.Of("other.img")), g.Text("trusted.vmm"), g.Text("x"), 1, 0),
        ["make a device node"] = (g, s) => g.Call(259, Here, g.Text(s.Of("mem")), 0x2180, 0x101),
        ["write the kernel's log"] = (g, _) => Open(g, "/dev/kmsg", WriteOnly),
        ["change where core files go"] = (g, _) => Open(g, "/proc/sys/kernel/core_pattern", WriteOnly),
        ["write one's own code"] = (g, _) => Open(g, "/proc/self/mem", ReadWrite),
        ["write another process's memory by /proc"] = (g, s) => Open(g, $"/proc/{s.Victim}/mem", ReadWrite),
        ["read another process's environment"] = (g, s) => Open(g, $"/proc/{s.Victim}/environ", ReadOnly),
        ["find a file by a handle"] = (g, s) =>
            Then(g.Call(303, Here, g.Text(s.Of("other.img")), g.Bytes([64, 0, 0, 0, .. new byte[92]]), g.Bytes(new byte[8]), 0), r => r),
        ["watch all files of the host"] = (g, _) => g.Call(300, 0, 0),
        ["execute a program"] = (g, _) => g.Call(59, g.Text("/bin/echo"), g.Longs(g.Text("echo"), g.Text("succeeded"), 0), g.Longs(0)),
        ["execute a program of a descriptor"] = (g, _) =>
            g.Call(322, Here, g.Text("/bin/echo"), g.Longs(g.Text("echo"), g.Text("succeeded"), 0), g.Longs(0), 0),
        ["make a process"] = (g, _) => g.Call(57),
        ["trace another process"] = (g, s) => g.Call(101, 0x4206, s.Victim, 0, 0),
        ["read another process's memory"] = (g, s) =>
            g.Call(310, s.Victim, g.Longs(g.Bytes(new byte[8]), 8), 1, g.Longs(s.VictimAddress, 8), 1, 0),
        ["write another process's memory"] = (g, s) =>
            g.Call(311, s.Victim, g.Longs(g.Bytes(new byte[8]), 8), 1, g.Longs(s.VictimAddress, 8), 1, 0),
        ["read the memory of a neighbour's device"] = (g, s) =>
        {
            long pipe = g.Bytes(new byte[8]);
            // The kernel looks whether there is such memory, and the process goes on.
            return Then(g.Call(293, pipe, 0), _ => g.Call(1, g.ReadInt(pipe + 4), s.NeighbourAddress, 8));
        },
        ["signal another process"] = (g, s) => g.Call(62, s.Victim, SIGCONT),
        ["signal another process's thread"] = (g, s) => g.Call(234, s.Victim, s.Victim, SIGCONT),
        ["queue a signal to another process"] = (g, s) =>
            g.Call(129, s.Victim, SIGCONT, g.Bytes([18, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, .. new byte[116]])),
        ["signal another process by a descriptor"] = (g, s) => Then(g.Call(434, s.Victim, 0), fd => g.Call(424, fd, SIGCONT, 0, 0)),
        ["take another process's descriptor"] = (g, s) => Then(g.Call(434, s.Victim, 0), fd => g.Call(438, fd, 0, 0)),
        ["compare with another process"] = (g, s) => Then(g.Call(39), me => g.Call(312, me, s.Victim, 1, 0, 0)),
        ["raise another process's limits"] = (g, s) => g.Call(302, s.Victim, 7, g.Longs(64, 64), 0),
        ["pin another process to a processor"] = (g, s) => g.Call(203, s.Victim, 8, g.Longs(1)),
        ["make another process wait"] = (g, s) => g.Call(141, 0, s.Victim, 19),
        ["open a TCP socket"] = (g, _) => g.Call(41, 2, 1, 0),
        ["open a UDP socket"] = (g, _) => g.Call(41, 2, 2, 0),
        ["connect to a program of this host"] = (g, s) => Then(g.Call(41, 2, 1, 0), fd => g.Call(42, fd, Address(g, s.Port), 16)),
        ["listen for the network"] = (g, _) => Then(g.Call(41, 2, 1, 0), fd => Then(g.Call(49, fd, Address(g, 0), 16), r => g.Call(50, fd, 1))),
        ["connect to a Unix socket"] = (g, s) => Then(g.Call(41, 1, 1, 0), fd => g.Call(42, fd, UnixAddress(g, s.Of("service")), 110)),
        ["connect to an abstract socket"] = (g, s) =>
            Then(g.Call(41, 1, 1, 0), fd => g.Call(42, fd, UnixAddress(g, $"\0vmm-hole-{s.Victim}"), 3 + $"vmm-hole-{s.Victim}".Length)),
        ["ask for the host's routes"] = (g, _) => g.Call(41, 16, 3, 0),
        ["read raw frames"] = (g, _) => g.Call(41, 17, 3, 0x300),
        ["use the kernel's ciphers"] = (g, _) => g.Call(41, 38, 5, 0),
        ["load a BPF map"] = (g, _) => g.Call(321, 0, g.Bytes([2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, .. new byte[112]]), 128),
        ["handle page faults of the kernel"] = (g, _) => g.Call(323, 0),
        ["count events of the processor"] = (g, _) =>
            g.Call(298, g.Bytes([1, 0, 0, 0, 112, 0, 0, 0, .. new byte[104]]), 0, -1, -1, 0),
        ["read a file by a ring"] = (g, _) => Ring.Open(g, "/etc/shadow"),
        ["open a UDP socket by a ring"] = (g, _) => Ring.Socket(g, domain: 2, type: 2),
        ["mount a file system"] = (g, s) => g.Call(165, g.Text("none"), g.Text(s.Of("mountpoint")), g.Text("tmpfs"), 0, 0),
        ["open a file system"] = (g, _) => g.Call(430, g.Text("tmpfs"), 0),
        ["clone a tree of mounts"] = (g, s) => g.Call(428, Here, g.Text(s.Directory), 1),
        ["change the root"] = (g, s) => g.Call(161, g.Text(s.Directory)),
        ["make a mount namespace"] = (g, _) => g.Call(272, 0x20000),
        ["make a network namespace"] = (g, _) => g.Call(272, 0x40000000),
        ["enter another network namespace"] = (g, _) => Then(Open(g, "/proc/1/ns/net", ReadOnly), fd => g.Call(308, fd, 0x40000000)),
        ["make a process in a user namespace"] = (g, _) => Then(g.Call(56, 0x10000000 | 17, 0, 0, 0, 0), r => r),
        ["become another user"] = (g, _) => g.Call(117, 65534, 65534, 65534),
        ["keep a key in the kernel"] = (g, _) => g.Call(248, g.Text("user"), g.Text("vmm"), g.Text("x"), 1, -2),
        ["change how this process runs"] = (g, _) => g.Call(135, 0x0040000),
        ["use ports of the machine"] = (g, _) => g.Call(173, 0x80, 1, 1),
        ["name the host"] = (g, _) => g.Call(170, g.Text(Environment.MachineName), Environment.MachineName.Length),
        ["read the kernel's messages"] = (g, _) => g.Call(103, 10, 0, 0),
        ["let others trace this process"] = (g, _) => g.Call(157, 4, 1, 0, 0, 0),
        ["make memory that is code"] = (g, _) => g.Call(9, 0, 4096, 7, 0x22, -1, 0),
        ["turn data into code"] = (g, _) => Then(g.Call(9, 0, 4096, 3, 0x22, -1, 0), at => g.Call(10, at, 4096, 5)),
        ["type on the terminal"] = (g, _) => g.Call(16, 0, 0x5412, g.Text("x")),
        ["paste into the terminal"] = (g, _) => g.Call(16, 0, 0x541c, g.Bytes(6)),
    };

    private static long Open(HoleGuest guest, string path, long flags) => guest.Call(257, Here, guest.Text(path), flags, 0x180);

    private static long Then(long result, Func<long, long> next) => result < 0 ? result : next(result);

    private static long Address(HoleGuest guest, int port) => guest.Bytes([2, 0, (byte)(port >> 8), (byte)port, 127, 0, 0, 1, .. new byte[8]]);

    private static long UnixAddress(HoleGuest guest, string path) =>
        guest.Bytes([1, 0, .. Encoding.UTF8.GetBytes(path), .. new byte[108 - Encoding.UTF8.GetByteCount(path)]]);
}
