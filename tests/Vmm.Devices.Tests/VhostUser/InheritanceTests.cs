using System.Diagnostics;
using Vmm.Devices.Native;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A program that this process starts gets none of its descriptors: neither those it opened nor those a front-end sent.</summary>
public abstract class InheritanceTests(PollerKind poller) : PollerSuite(poller)
{
    [Fact]
    public void A_child_inherits_no_descriptor_of_devices_connections_and_front_ends()
    {
        string[] before = InheritedByChild();
        string directory = Directory.CreateTempSubdirectory("vmm-inherit-").FullName;
        using TemporaryImage image = new(sectors: 8);
        ConsolePort port = new("console", isConsole: true);
        using (ServedDevice disk = new(image.OpenDevice()), rng = new(new EntropyDevice("rng0")), console = new(new ConsoleDevice("console0", port)),
            vsock = new(new VsockDevice("vsock0", 3, Path.Combine(directory, "vsock"))))
        {
            using ConsoleListener listener = new(port, Path.Combine(directory, "console"), console.Remote);
            using UnixSocket person = UnixEndpoint.Connect(Path.Combine(directory, "console"));
            (UnixSocket channel, UnixSocket theirs) = UnixSocket.Pair();
            using DiskDriver driver = new(disk.Connect());
            using EventFd error = new();
            driver.WriteSector(0, 1);
            driver.Frontend.Do(VhostUserRequest.SetVringError, VhostUserFrontend.RingWord(0), [error.Number]);
            driver.Frontend.Do(VhostUserRequest.SetProtocolFeatures, BitConverter.GetBytes(driver.Frontend.Ask(VhostUserRequest.GetProtocolFeatures)), []);
            driver.Frontend.Do(VhostUserRequest.SetBackendRequestFd, [], [theirs.Number]);
            using VhostUserFrontend second = rng.Connect(), third = vsock.Connect();
            second.Negotiate(0);
            third.Negotiate(0);
            // Every descriptor the server has of a front-end is open now: its socket, kick, call, error and channel.
            Assert.Equal(before, InheritedByChild());
            channel.Dispose();
            theirs.Dispose();
        }
        Directory.Delete(directory, recursive: true);
    }

    /// <summary>What a child finds open, without what it opens itself. Pipes to it are the runtime's.</summary>
    private static string[] InheritedByChild()
    {
        using Process child = Process.Start(new ProcessStartInfo("ls", ["-l", "/proc/self/fd"]) { RedirectStandardOutput = true })!;
        string output = child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        Assert.Equal(0, child.ExitCode);
        return [.. output.Split('\n').Where(line => line.Contains("->", StringComparison.Ordinal)).Select(line => KindOf(line[line.IndexOf("->", StringComparison.Ordinal)..]))];
    }

    private static string KindOf(string link)
    {
        int number = link.IndexOf(":[", StringComparison.Ordinal);
        if (number > 0 && char.IsAsciiDigit(link[number + 2])) return link[..number];
        return link.Contains("/proc/", StringComparison.Ordinal) ? "its own" : link;
    }
}

[Collection(Alone.Name)]
public sealed class InheritanceOnEpollTests() : InheritanceTests(PollerKind.Epoll);

[Collection(Alone.Name)]
public sealed class InheritanceOnIoRingTests() : InheritanceTests(PollerKind.IoRing);
