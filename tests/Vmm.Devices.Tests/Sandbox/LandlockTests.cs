using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>What a plan names stays, and nothing else does. Each on a thread of its own, whose rights end with it.</summary>
public sealed class LandlockTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-landlock-").FullName;

    public LandlockTests() => Assert.SkipUnless(SandboxCalls.LandlockVersion() >= Landlock.VersionOfScopes, "this kernel's Landlock is too old");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_file_has_the_rights_that_its_device_needs()
    {
        string read = Make("read"), written = Make("written"), appended = Make("appended"), other = Make("other");
        Errno[] errors = Under(
            [new(HostAccessKind.Read, read), new(HostAccessKind.Write, written), new(HostAccessKind.Append, appended)],
            () =>
            [
                Open(read, FileCalls.O_RDONLY), Open(written, FileCalls.O_RDWR), Open(appended, FileCalls.O_WRONLY | FileCalls.O_APPEND),
                Open(read, FileCalls.O_RDWR), Open(appended, FileCalls.O_RDONLY), Open(other, FileCalls.O_RDONLY),
                Open("/etc/shadow", FileCalls.O_RDONLY), Open(PathOf("new"), FileCalls.O_RDWR | FileCalls.O_CREAT),
                Open("/proc/self/mem", FileCalls.O_RDWR),
            ]);
        Assert.Equal([.. Enumerable.Repeat(Errno.None, 3), .. Enumerable.Repeat(Errno.AccessDenied, 6)], errors);
        Assert.False(File.Exists(PathOf("new")));
    }

    [Fact]
    public void A_socket_is_made_and_removed_in_its_own_directory()
    {
        string inside = PathOf("inside"), outside = PathOf("outside");
        Directory.CreateDirectory(inside);
        Directory.CreateDirectory(outside);
        Errno[] errors = Under([new(HostAccessKind.Listen, Path.Combine(inside, "s"))], () => [Listen(inside), Listen(outside)]);
        Assert.Equal([Errno.None, Errno.AccessDenied], errors);
        Assert.Empty(Directory.GetFileSystemEntries(inside));

        static Errno Listen(string directory)
        {
            try
            {
                using UnixSocket socket = UnixEndpoint.Listen(Path.Combine(directory, "s"), UnixFileMode.UserRead);
                socket.RemovePath();
                return Errno.None;
            }
            catch (KernelException refused)
            {
                return refused.Errno;
            }
        }
    }

    [Fact]
    public void A_port_is_reached_if_a_disk_is_there_and_others_are_not()
    {
        using Socket named = Listening(out int port), other = Listening(out int otherPort);
        Errno[] errors = Under([new(HostAccessKind.ConnectTcp, Port: port)], () => [Connect(port), Connect(otherPort)]);
        Assert.Equal([Errno.None, Errno.AccessDenied], errors);
        Assert.Equal([Errno.None], Under([new(HostAccessKind.ConnectTcp)], () => [Connect(otherPort)]));

        static Errno Connect(int port)
        {
            Errno error = StreamSocket.Connect(new IPEndPoint(IPAddress.Loopback, port), TimeSpan.FromSeconds(30), out OwnedFd? socket);
            socket?.Dispose();
            return error;
        }
    }

    [Fact]
    public void What_is_not_there_needs_no_rule() =>
        Assert.Equal([Errno.NoEntry], Under([new(HostAccessKind.Write, PathOf("absent"))], () => [Open(PathOf("absent"), FileCalls.O_RDWR)]));

    private static Errno[] Under(HostAccess[] accesses, Func<Errno[]> act)
    {
        Errno[] errors = [];
        SandboxThread.Run(() =>
        {
            // Compiled and bound before: the thread could not load a library any more.
            _ = act();
            using Landlock rules = Landlock.For(new SandboxPlan { Accesses = accesses })!;
            Assert.Equal(Errno.None, SandboxCalls.SetNoNewPrivileges());
            rules.Lay();
            errors = act();
        });
        return errors;
    }

    private static Errno Open(string path, int flags)
    {
        int fd = FileCalls.Open(path, flags | FileCalls.O_CLOEXEC, 0x180);
        Errno error = fd < 0 ? CallResult.LastError : Errno.None;
        if (fd >= 0) new OwnedFd(fd).Dispose();
        if (fd >= 0 && (flags & FileCalls.O_CREAT) != 0) File.Delete(path);
        return error;
    }

    private static Socket Listening(out int port)
    {
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        socket.Listen();
        port = ((IPEndPoint)socket.LocalEndPoint!).Port;
        return socket;
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private string Make(string name)
    {
        File.WriteAllText(PathOf(name), "x");
        return PathOf(name);
    }
}
