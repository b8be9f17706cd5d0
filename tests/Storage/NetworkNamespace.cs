using System.Runtime.InteropServices;

namespace Vmm.Tests;

/// <summary>A network of a test's own (network_namespaces(7)): whatever happens in it, the host's stays as it is. Gone afterwards.</summary>
internal sealed partial class NetworkNamespace : IDisposable
{
    private const int NewNetwork = 0x40000000; // CLONE_NEWNET

    internal NetworkNamespace() => HostCommand.Check("ip", "netns", "add", Name);

    internal string Name { get; } = $"vmm-{Guid.NewGuid():n}"[..12];

    /// <summary>What a command has to be run under to be in it.</summary>
    internal string[] Wrapper => ["ip", "netns", "exec", Name];

    internal static void SkipWithoutPrivilege() =>
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists("/dev/net/tun"), "a network of its own needs root and /dev/net/tun");

    /// <summary>Makes an interface and gives it an address: the only one, as the kernel sends frames of its own accord from one of IPv6.</summary>
    /// <param name="name">Of a TAP that persists.</param>
    /// <param name="address">With the length of its prefix.</param>
    /// <param name="more">Words for <c>ip tuntap add</c>.</param>
    internal void AddTap(string name, string address, params string[] more)
    {
        Execute(["ip", "tuntap", "add", name, "mode", "tap", .. more]);
        Execute("ip", "link", "set", name, "addrgenmode", "none");
        Execute("ip", "addr", "add", address, "dev", name);
        Execute("ip", "link", "set", name, "up");
    }

    /// <summary>Runs a program in it to its end.</summary>
    /// <returns>What it printed.</returns>
    internal string Execute(params string[] command) => HostCommand.Check(Wrapper[0], [.. Wrapper[1..], .. command]);

    /// <summary>Runs code on a thread that is in it: sockets it makes are of this network, whoever uses them after.</summary>
    internal T Inside<T>(Func<T> code)
    {
        TaskCompletionSource<T> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle($"/run/netns/{Name}");
                Assert.Equal(0, SetNamespace((int)file.DangerousGetHandle(), NewNetwork));
                done.SetResult(code());
            }
            catch (Exception failure)
            {
                done.SetException(failure);
            }
        }).Start();
        return done.Task.GetAwaiter().GetResult();
    }

    public void Dispose() => HostCommand.Check("ip", "netns", "del", Name);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNamespace(int fd, int kind);
}
