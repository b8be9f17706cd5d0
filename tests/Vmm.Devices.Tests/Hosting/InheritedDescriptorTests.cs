using System.Diagnostics;
using System.Net.Sockets;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests.Hosting;

/// <summary>No descriptor of a device is handed to a process that this one starts: neither those it made nor those it accepted or
/// received.</summary>
[Collection(Alone.Name)]
public sealed class InheritedDescriptorTests
{
    [Fact]
    public void A_child_process_inherits_no_descriptor_of_the_devices()
    {
        string directory = Directory.CreateTempSubdirectory("vmm-fds-").FullName;
        HashSet<string> before = [.. Links(Environment.ProcessId)];
        try
        {
            ConsolePort agent = new("agent"), console = new("console", isConsole: true);
            using PseudoTerminal terminal = new();
            terminal.Connect(console);
            using ReactorThread reactor = new();
            reactor.Start();
            using ConsoleListener listener = new(agent, Path.Combine(directory, "agent"), reactor.Remote);
            using SimulatedGuest consoles = SimulatedGuest.For(new ConsoleDevice("console0", console, agent));
            using SimulatedGuest vsock = SimulatedGuest.For(new VsockDevice("vsock0", 3, Path.Combine(directory, "v")));
            using SimulatedGuest net = SimulatedGuest.For(new NetDevice("net0", NetSocket.Open(Path.Combine(directory, "cable"))));
            using SimulatedGuest disk = SimulatedGuest.For(new BlockDevice("vda", RawImage.Open(MakeImage(directory))));
            using Socket atAgent = Connect(Path.Combine(directory, "agent")), atVsock = Connect(Path.Combine(directory, "v")), atCable = Connect(Path.Combine(directory, "cable"));
            consoles.RunUntil(() => agent.IsConnected);
            vsock.RunUntil(() => ((VsockDevice)vsock.Device).Connections == 1);
            net.RunUntilIdle();
            using OwnedFd received = Receive();

            HashSet<string> ours = [.. Links(Environment.ProcessId)];
            ours.ExceptWith(before);
            // Sockets, terminals, eventfds, memory, an image: without them this shows nothing.
            Assert.InRange(ours.Count, 10, 1000);
            ours.IntersectWith(LinksOfChild());
            Assert.Empty(ours);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static string MakeImage(string directory)
    {
        string path = Path.Combine(directory, "image");
        File.WriteAllBytes(path, new byte[1 << 20]);
        return path;
    }

    private static Socket Connect(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    /// <summary>A descriptor that came with a message, as a front-end's do.</summary>
    private static OwnedFd Receive()
    {
        (UnixSocket a, UnixSocket b) = UnixSocket.Pair();
        using (a)
        using (b)
        using (EventFd sent = new())
        {
            a.Send([1], [sent.Number], out _);
            ReceivedFds received = new();
            b.Receive(new byte[1], received);
            return new OwnedFd(received.Take(0));
        }
    }

    private static IEnumerable<string> LinksOfChild()
    {
        using Process child = Process.Start(new ProcessStartInfo("/bin/sleep", ["60"]))!;
        try
        {
            // Until its exec it still is a copy of this process.
            SpinWait.SpinUntil(() => File.ReadAllText($"/proc/{child.Id}/comm").Trim() == "sleep", SimulatedGuest.Patience);
            return [.. Links(child.Id)];
        }
        finally
        {
            child.Kill();
            child.WaitForExit();
        }
    }

    /// <summary>What the descriptors of a process stand for, those that can be told apart: an anonymous one is named by its number
    /// too.</summary>
    private static IEnumerable<string> Links(int process)
    {
        foreach (string fd in Directory.GetFiles($"/proc/{process}/fd"))
        {
            string? link;
            try
            {
                link = new FileInfo(fd).LinkTarget;
            }
            catch (IOException)
            {
                // It is closed again.
                continue;
            }
            if (link is null) continue;
            yield return link.StartsWith("anon_inode", StringComparison.Ordinal) || link.StartsWith("/memfd", StringComparison.Ordinal) ? $"{Path.GetFileName(fd)} {link}" : link;
        }
    }
}
