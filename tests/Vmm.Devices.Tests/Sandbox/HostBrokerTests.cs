using System.Runtime.InteropServices;
using Vmm.Devices.Native;
using Vmm.Devices.Sandbox;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A broker opens what the operator named, for a process that may be an attacker's by now.</summary>
public sealed class HostBrokerTests : IDisposable
{
    private const uint O_TRUNC = 0x200;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-broker-").FullName;
    private readonly UnixSocket _asks;
    private readonly OwnedFd _takes;
    private readonly HostBroker _broker;
    private readonly List<string> _said = [];

    public HostBrokerTests()
    {
        BrokerChannels own = HostBroker.MakeChannels(out BrokerChannels ofProcess);
        (_asks, _takes) = (new UnixSocket(ofProcess.Requests), new OwnedFd(ofProcess.Connections));
        _broker = new HostBroker(own, PathOf("api"), _ => [], _said.Add);
    }

    public void Dispose()
    {
        _broker.Dispose();
        _asks.Dispose();
        _takes.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public void What_nobody_named_is_not_opened_and_what_was_named_in_the_way_it_was_named_only()
    {
        string read = Make("read"), written = Make("written"), appended = PathOf("appended"), other = Make("other");
        Assert.Equal(Errno.AccessDenied, Open(read, FileCalls.O_RDONLY));
        Assert.Contains(read, Assert.Single(_said));
        _broker.Grant([new(HostAccessKind.Read, read), new(HostAccessKind.Write, written), new(HostAccessKind.Append, appended)]);
        (string Path, uint Flags, Errno Expected)[] cases =
        [
            (read, FileCalls.O_RDONLY, Errno.None), (read, FileCalls.O_PATH, Errno.None), (read, FileCalls.O_RDWR, Errno.AccessDenied),
            (read, FileCalls.O_WRONLY, Errno.AccessDenied), (read, O_TRUNC, Errno.AccessDenied),
            (written, FileCalls.O_RDWR | FileCalls.O_DIRECT, Errno.None), (written, FileCalls.O_RDWR | O_TRUNC, Errno.AccessDenied),
            (written, FileCalls.O_RDWR | FileCalls.O_CREAT, Errno.AccessDenied), (written, 3, Errno.AccessDenied),
            (appended, FileCalls.O_WRONLY | FileCalls.O_CREAT | FileCalls.O_APPEND, Errno.None), (appended, FileCalls.O_RDONLY, Errno.AccessDenied),
            (other, FileCalls.O_RDONLY, Errno.AccessDenied),
        ];
        Assert.All(cases, each => Assert.Equal(each.Expected, Open(each.Path, each.Flags)));
        Assert.Equal("x", File.ReadAllText(written));
    }

    [Fact]
    public void Of_more_than_it_keeps_it_forgets_what_was_named_first()
    {
        string first = Make("first"), last = Make("last");
        _broker.Grant([new(HostAccessKind.Read, first)]);
        Assert.Equal(Errno.None, Open(first, FileCalls.O_RDONLY));
        _broker.Grant(Enumerable.Range(0, 1 << 16).Select(i => new HostAccess(HostAccessKind.Read, PathOf($"{i}"))));
        _broker.Grant([new(HostAccessKind.Read, last)]);
        Assert.Equal(Errno.None, Open(last, FileCalls.O_RDONLY));
        Assert.Equal(Errno.AccessDenied, Open(first, FileCalls.O_RDONLY));
    }

    [Fact]
    public void It_listens_where_it_was_named_and_removes_its_own_paths_only()
    {
        string named = PathOf("named"), other = PathOf("other");
        _broker.Grant([new(HostAccessKind.Listen, named)]);
        Assert.Equal(Errno.AccessDenied, Do(new(BrokerCall.Listen, 0, 0x180, 0, other)));
        Assert.Equal(Errno.None, Do(new(BrokerCall.Listen, 0, 0x180, 0, named)));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(named));
        Assert.Equal(Errno.NoEntry, Do(new(BrokerCall.Remove, 0, 0, 0, Make("kept"))));
        Assert.True(File.Exists(PathOf("kept")));
        Assert.Equal(Errno.None, Do(new(BrokerCall.Remove, 0, 0, 0, named)));
        Assert.False(Path.Exists(named));
    }

    [Fact]
    public void It_connects_to_the_path_that_was_named_and_to_ports_of_it()
    {
        string named = PathOf("v");
        using UnixSocket one = UnixEndpoint.Listen(named, UnixFileMode.UserWrite), port = UnixEndpoint.Listen($"{named}_1024", UnixFileMode.UserWrite);
        using UnixSocket strange = UnixEndpoint.Listen($"{named}_x", UnixFileMode.UserWrite);
        Assert.Equal(Errno.AccessDenied, Connect(named));
        _broker.Grant([new(HostAccessKind.Connect, named)]);
        Assert.Equal([Errno.None, Errno.None, Errno.AccessDenied, Errno.NoEntry],
            (Errno[])[Connect(named), Connect($"{named}_1024"), Connect($"{named}_x"), Connect($"{named}_7")]);

        Errno Connect(string path) => Do(new(BrokerCall.Connect, 0, 0, 0, path));
    }

    [Fact]
    public void A_machine_is_saved_where_that_was_asked_for_by_files_of_a_snapshot()
    {
        string saved = PathOf("saved"), aside = $"{saved}.partial";
        const uint makes = FileCalls.O_RDWR | FileCalls.O_CREAT | FileCalls.O_EXCL;
        Assert.Equal(Errno.AccessDenied, Do(new(BrokerCall.Save, 0, 0, 0, saved)));
        _broker.Grant([new(HostAccessKind.Save, saved)]);
        Assert.Equal(Errno.AccessDenied, Open($"{aside}/memory", makes));
        Assert.Equal(Errno.None, Do(new(BrokerCall.Save, 0, 0, 0, saved)));
        Assert.Equal([Errno.None, Errno.AccessDenied, Errno.AccessDenied],
            (Errno[])[Open($"{aside}/memory", makes), Open($"{aside}/planted", makes), Open($"{_directory}/memory", makes)]);
        Assert.Equal(Errno.None, Do(new(BrokerCall.Commit, 0, 0, 0, saved)));
        Assert.Equal(["memory"], Directory.GetFiles(saved).Select(Path.GetFileName));
        Assert.Equal(Errno.Exists, Do(new(BrokerCall.Save, 0, 0, 0, saved)));
        Assert.Equal(Errno.NoEntry, Do(new(BrokerCall.Commit, 0, 0, 0, saved)));
    }

    [Fact]
    public void A_message_that_no_process_of_ours_sends_is_none()
    {
        byte[] good = new BrokerRequest(BrokerCall.Open, 0, 2, 0x180, "/a/b").ToBytes()!;
        Assert.True(BrokerRequest.TryRead(good, out BrokerRequest read));
        Assert.Equal(new BrokerRequest(BrokerCall.Open, 0, 2, 0x180, "/a/b"), read);
        byte[][] bad =
        [
            [], [1], good[..12], good[..^1], [.. good, 0], With(0, 0), With(0, 99), With(1, 2), With(2, 200), With(12, (byte)'a'), With(13, 0), With(13, 0xff),
            new BrokerRequest(BrokerCall.Open, 0, 0, 0, "/a/../b").ToBytes()!, new BrokerRequest(BrokerCall.Tap, 0, 0, 0, "a/b").ToBytes()!,
            new BrokerRequest(BrokerCall.Tap, 0, 0, 0, "sixteen-letters-").ToBytes()!, new byte[BrokerRequest.BytesMax + 1],
        ];
        Assert.All(bad, each => Assert.False(BrokerRequest.TryRead(each, out _)));
        Assert.Null(new BrokerRequest(BrokerCall.Open, 0, 0, 0, "/" + new string('a', BrokerRequest.PathBytesMax)).ToBytes());
        // Whatever else comes is a request or none, and no exception.
        Random random = new(4711);
        for (int i = 0; i < 100_000; i++)
        {
            byte[] mutant = [.. good];
            for (int change = 0; change < 3; change++) mutant[random.Next(mutant.Length)] = (byte)random.Next(256);
            if (BrokerRequest.TryRead(mutant, out BrokerRequest request)) _ = Do(request);
        }
        Assert.True(_said.Count <= 10);

        byte[] With(int at, byte value)
        {
            byte[] other = [.. good];
            other[at] = value;
            return other;
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void It_ends_with_its_process_and_at_a_lie(bool lies)
    {
        Exception? end = null;
        Thread serving = new(() => end = Record.Exception(_broker.Serve));
        serving.Start();
        using ReceivedFds received = new();
        string file = Make("named");
        _broker.Grant([new(HostAccessKind.Read, file)]);
        byte[] answer = new byte[BrokerRequest.AnswerBytes];
        _asks.Send(new BrokerRequest(BrokerCall.Open, 0, 0, 0, file).ToBytes(), [], out _);
        _asks.WaitReadable(-1);
        Assert.Equal(answer.Length, _asks.Receive(answer, received).Bytes);
        Assert.Equal((0, 1), (MemoryMarshal.Read<int>(answer), received.Count));
        if (lies) _asks.Send([1, 2, 3], [], out _);
        else _asks.Dispose();
        serving.Join();
        Assert.Equal(lies, end is IOException);
    }

    private Errno Open(string path, uint flags) => Do(new(BrokerCall.Open, 0, flags, 0x180, path));

    private Errno Do(BrokerRequest request)
    {
        using OwnedFd? opened = _broker.Do(request, out Errno errno);
        Assert.Equal(errno == Errno.None && request.Call is not (BrokerCall.Remove or BrokerCall.Commit or BrokerCall.Abandon), opened is not null);
        return errno;
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private string Make(string name)
    {
        File.WriteAllText(PathOf(name), "x");
        return PathOf(name);
    }
}
