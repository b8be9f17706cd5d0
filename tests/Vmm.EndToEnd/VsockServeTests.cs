using System.Net.Sockets;

namespace Vmm.EndToEnd;

/// <summary><c>vmm serve --vsock</c> and a stock Linux guest in QEMU: both directions, everything verified from both sides.</summary>
[Tried("QEMU, with a Debian kernel", "qemu-system-x86", "7.2", Devices = "vsock", Result = "works", HowTo = "docs/vsock.md")]
public sealed class VsockServeTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public void A_linux_guest_and_the_host_connect_to_each_other()
    {
        QemuGuest.SkipIfMissing();
        using ScratchDirectory scratch = new();
        string socket = scratch.PathOf("vsock.sock"), uds = scratch.PathOf("v");
        using VmmProcess vmm = new("serve", "--vsock", $"socket={socket},cid=42,uds={uds}");
        vmm.WaitFor($"listening vsock {socket}");
        using VsockHost host = new(uds);
        host.Exchange(5000, 16 * MiB);
        host.Echo(5001);
        host.Halves(5002);
        host.Stall(5003);
        host.Echo(5005, SocketType.Seqpacket);

        using QemuGuest guest = new("vsock", processors: 2, QemuGuest.Vsock(socket));
        guest.WaitForLine("vmm-vsock stalled ");
        host.Read();
        guest.WaitFor("vmm-vsock serving 6000");
        host.ExchangeWithEcho(6000, 16 * MiB);
        host.EchoMany(6000, count: 400, atOnce: 100);
        AssertRefused(uds, port: 6001);
        using (Socket last = host.Connect(6000)) last.Send("quit"u8);

        string[] console = guest.WaitForPowerOff();
        Assert.Contains("vmm-vsock cid 42", console);
        Assert.Contains("vmm-test vsock passed", console);
        Assert.Contains("vmm-log clean", console);
        host.AssertNothingFailed();
        Assert.True(host.Accepted >= 1 + 1000 + 2 + 1 + 10 + 1, $"{host.Accepted} connections");

        vmm.Signal("TERM");
        VmmResult result = vmm.WaitForExit();
        Assert.Equal(0, result.ExitCode);
        // Nothing but who came and went.
        Assert.All(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries),
            line => Assert.Matches("^vmm: vsock0: (a front-end is connected: |a driver runs: |the front-end left )", line));
        Assert.False(File.Exists(socket));
        Assert.False(File.Exists(uds));
    }

    /// <summary>A port of the guest that nobody listens on: the connection ends without an OK.</summary>
    private static void AssertRefused(string uds, uint port)
    {
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        socket.Connect(new UnixDomainSocketEndPoint(uds));
        socket.Send(System.Text.Encoding.ASCII.GetBytes($"CONNECT {port}\n"));
        Assert.Equal("", VsockHost.Hear(socket, 1));
    }
}
