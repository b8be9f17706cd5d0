using System.Diagnostics;
using System.IO.Pipes;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;
using Vmm.Events.Tests.Support;

namespace Vmm.Events.Tests.Rings;

/// <summary>A reactor with a ring, on one of the engines, for one test.</summary>
internal sealed class RingTable : IDisposable
{
    private static readonly TimeSpan Watchdog = TimeSpan.FromSeconds(30);
    private readonly List<string> _files = [];
    private readonly List<IDisposable> _pipeEnds = [];

    internal RingTable(RingEngine engine, Func<RingOptions, RingOptions>? shape = null, SlabPoolOptions? buffers = null)
    {
        Pool = new SlabPool(buffers);
        Reactor = new Reactor(new ReactorOptions { OnHandlerFailure = Failures.Add });
        RingOptions options = new() { Engine = engine };
        Ring = new IoRing(Reactor, shape?.Invoke(options) ?? options);
    }

    /// <summary>Both engines: every test of rings runs on each.</summary>
    public static TheoryData<RingEngine> Engines => [RingEngine.Kernel, RingEngine.Threads];

    internal Reactor Reactor { get; }

    internal IoRing Ring { get; }

    internal SlabPool Pool { get; }

    internal List<HandlerFailure> Failures { get; } = [];

    internal string NewFile(ReadOnlySpan<byte> content = default)
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-ring-{Guid.NewGuid():N}");
        File.WriteAllBytes(path, content.ToArray());
        _files.Add(path);
        return path;
    }

    internal static OwnedFd Open(string path, FileAccess access = FileAccess.ReadWrite, bool isFolder = false)
    {
        if (isFolder) return new OwnedFd(Posix.Open(path, 0, 0));
        using FileStream stream = new(path, FileMode.Open, access, FileShare.ReadWrite, 0);
        return new OwnedFd(Dup((int)stream.SafeFileHandle.DangerousGetHandle()));
    }

    /// <summary>A pipe whose reading end is the ring's; the writing end blocks. Both go with the table.</summary>
    internal (RingFile Reader, FileStream Writer) NewPipe()
    {
        (OwnedFd readEnd, FileStream writeEnd) = Pipe();
        RingFile reader = Ring.Register(readEnd);
        _pipeEnds.AddRange([reader, readEnd, writeEnd]);
        return (reader, writeEnd);
    }

    /// <summary>A pipe; its reading end for the ring, its writing end for the test, which blocks.</summary>
    internal static (OwnedFd ReadEnd, FileStream WriteEnd) Pipe()
    {
        AnonymousPipeServerStream server = new(PipeDirection.Out);
        OwnedFd readEnd = new(Dup((int)server.ClientSafePipeHandle.DangerousGetHandle()));
        server.DisposeLocalCopyOfClientHandle();
        SafeFileHandle writeEnd = new(Dup((int)server.SafePipeHandle.DangerousGetHandle()), ownsHandle: true);
        server.Dispose();
        return (readEnd, new FileStream(writeEnd, FileAccess.Write, 0));
    }

    internal static int Dup(int number)
    {
        using OwnedFd borrowed = new(number);
        OwnedFd copy = borrowed.Duplicate();
        borrowed.SetHandleAsInvalid();
        int fresh = copy.Number;
        copy.SetHandleAsInvalid();
        return fresh;
    }

    internal static OwnedFd DuplicateOf(Socket socket) => new(Dup((int)socket.SafeHandle.DangerousGetHandle()));

    /// <summary>Two connected Unix sockets.</summary>
    internal static (OwnedFd A, OwnedFd B) SocketPair()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-{Guid.NewGuid():N}.sock");
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        using Socket client = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(path));
        using Socket server = listener.Accept();
        File.Delete(path);
        return (DuplicateOf(client), DuplicateOf(server));
    }

    /// <summary>A frozen buffer with content.</summary>
    internal FrozenBuffer Frozen(ReadOnlySpan<byte> content)
    {
        SlabBuffer buffer = Pool.Rent(Math.Max(1, content.Length));
        buffer.Append(content);
        return buffer.Freeze(content.Length);
    }

    /// <summary>Runs a task to its end.</summary>
    internal void Run(Func<IoRing, ReactorTask> body)
    {
        ReactorTask task = ReactorTasks.Of(Reactor).Spawn(() => body(Ring));
        RunUntil(() => task.IsCompleted, "the task");
        task.GetAwaiter().GetResult();
    }

    /// <summary>Runs the reactor until something is true.</summary>
    internal void RunUntil(Func<bool> isDone, string what = "the operation")
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (!isDone())
        {
            Assert.True(watch.Elapsed < Watchdog, $"{what} did not end");
            Reactor.RunOnce(TimeSpan.FromMilliseconds(100));
        }
    }

    public void Dispose()
    {
        Reactor.Dispose();
        foreach (IDisposable end in _pipeEnds) end.Dispose();
        Assert.Equal(0, Ring.InFlight);
        Assert.Equal(0, Ring.Scratch.Statistics.Outstanding);
        Assert.Empty(Pool.ReportLeaks());
        Pool.Dispose();
        foreach (string file in _files) File.Delete(file);
        Assert.Empty(Failures);
    }
}

/// <summary>A raw request that remembers its results.</summary>
internal sealed class RecordingRequest(Action<RecordingRequest>? then = null) : RingRequest
{
    internal List<int> Results { get; } = [];

    protected internal override void Complete(int result)
    {
        Results.Add(result);
        then?.Invoke(this);
    }
}

/// <summary>Memory of a test that does not move, for vectored operations.</summary>
internal static unsafe class Unmoving
{
    internal static void AddTo(IoVectors list, Span<byte> unmoving) =>
        list.Add(Unsafe.AsPointer(ref MemoryMarshal.GetReference(unmoving)), unmoving.Length);
}

internal static class OwnedFdExtensions
{
    /// <summary>A handle that was closed.</summary>
    internal static OwnedFd DisposedDuplicate(this OwnedFd fd)
    {
        OwnedFd copy = fd.Duplicate();
        copy.Dispose();
        return copy;
    }

    /// <summary>The number, which is the caller's from now on.</summary>
    internal static int Detached(this OwnedFd fd)
    {
        int number = fd.Number;
        fd.SetHandleAsInvalid();
        return number;
    }
}
