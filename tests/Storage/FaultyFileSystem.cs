using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Vmm.Events;

namespace Vmm.Tests;

/// <summary>
/// A file system with one file, 'disk', that fails as it is told: the storage below a disk image, seen by real system calls. It counts what
/// reaches it. Needs the right to mount one.
/// </summary>
internal sealed partial class FaultyFileSystem : IDisposable
{
    private const ulong RootNode = 1, FileNode = 2;
    private const int HeaderBytes = 40, ReplyHeaderBytes = 16, WriteHeaderBytes = 40, AttributeBytes = 88;
    private const int WriteBytesMax = 128 * 1024;
    private const uint DirectIo = 1, SyncFlags = 0x1000;
    private const int ForceUnmount = 1, DetachMount = 2;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-faulty-").FullName;
    private readonly SafeFileHandle _device;
    private readonly Thread _thread;
    private readonly ConcurrentDictionary<FuseRequest, int> _counts = new();
    private readonly FuseStorage _storage;

    internal FaultyFileSystem(FuseStorage storage)
    {
        _storage = storage;
        // Shared, because a lock on the file would be one on every file system of the host in user space.
        _device = File.OpenHandle("/dev/fuse", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        bool isMounted = Mount("vmm-faulty", _directory, "fuse", 0, $"fd={DeviceNumber},rootmode=40000,user_id=0,group_id=0") == 0;
        if (!isMounted) Directory.Delete(_directory);
        Assert.SkipUnless(isMounted, "a FUSE file system can be mounted by root only");
        _thread = new Thread(Serve) { IsBackground = true, Name = "faulty file system" };
        _thread.Start();
    }

    internal string Path => System.IO.Path.Combine(_directory, "disk");

    private int DeviceNumber => (int)_device.DangerousGetHandle();

    /// <summary>How a request ends: <see cref="Errno.None"/> carries it out. On the file system's thread.</summary>
    internal Func<FuseRequest, Errno>? Fault { get; set; }

    internal int Count(FuseRequest request) => _counts.GetValueOrDefault(request);

    public void Dispose()
    {
        // Ends what still waits for us, or a file that was left open would keep this process from ending.
        if (Unmount(_directory, ForceUnmount) != 0) Assert.Equal(0, Unmount(_directory, DetachMount));
        Assert.True(_thread.Join(TimeSpan.FromSeconds(30)), "the file system is still in use");
        _device.Dispose();
        Directory.Delete(_directory);
    }

    private void Serve()
    {
        byte[] message = new byte[WriteBytesMax + 4096];
        while (true)
        {
            nint got = ReadFrom(DeviceNumber, message, message.Length);
            if (got < 0 && (Errno)Marshal.GetLastPInvokeError() is Errno.Interrupted or Errno.Again or Errno.NoEntry) continue;
            if (got <= 0) break;
            Answer(message.AsSpan(0, (int)got));
        }
        // It was unmounted.
        _storage.Close();
    }

    private void Answer(ReadOnlySpan<byte> message)
    {
        FuseRequest request = (FuseRequest)BinaryPrimitives.ReadUInt32LittleEndian(message[4..]);
        ulong unique = BinaryPrimitives.ReadUInt64LittleEndian(message[8..]), node = BinaryPrimitives.ReadUInt64LittleEndian(message[16..]);
        if (request is FuseRequest.Forget or FuseRequest.BatchForget or FuseRequest.Interrupt) return;
        _counts.AddOrUpdate(request, 1, (_, before) => before + 1);
        Errno error = Fault?.Invoke(request) ?? Errno.None;
        byte[] reply = [];
        if (error == Errno.None) error = Carry(request, node, message[HeaderBytes..], out reply);
        byte[] whole = new byte[ReplyHeaderBytes + (error == Errno.None ? reply.Length : 0)];
        BinaryPrimitives.WriteInt32LittleEndian(whole, whole.Length);
        BinaryPrimitives.WriteInt32LittleEndian(whole.AsSpan(4), -(int)error);
        BinaryPrimitives.WriteUInt64LittleEndian(whole.AsSpan(8), unique);
        if (error == Errno.None) reply.CopyTo(whole, ReplyHeaderBytes);
        _ = WriteTo(DeviceNumber, whole, whole.Length);
    }

    private Errno Carry(FuseRequest request, ulong node, ReadOnlySpan<byte> body, out byte[] reply)
    {
        reply = [];
        switch (request)
        {
            case FuseRequest.Init:
                reply = new byte[64];
                BinaryPrimitives.WriteUInt32LittleEndian(reply, 7);
                BinaryPrimitives.WriteUInt32LittleEndian(reply.AsSpan(4), 31);
                BinaryPrimitives.WriteUInt32LittleEndian(reply.AsSpan(20), WriteBytesMax);
                BinaryPrimitives.WriteUInt32LittleEndian(reply.AsSpan(24), 1);
                return Errno.None;
            case FuseRequest.Lookup when Encoding.UTF8.GetString(body[..body.IndexOf((byte)0)]) == "disk":
                reply = new byte[40 + AttributeBytes];
                BinaryPrimitives.WriteUInt64LittleEndian(reply, FileNode);
                Attributes(FileNode).CopyTo(reply, 40);
                return Errno.None;
            case FuseRequest.Lookup: return Errno.NoEntry;
            case FuseRequest.GetAttributes or FuseRequest.SetAttributes:
                reply = new byte[16 + AttributeBytes];
                Attributes(node).CopyTo(reply, 16);
                return Errno.None;
            case FuseRequest.Open:
                reply = new byte[16];
                BinaryPrimitives.WriteUInt32LittleEndian(reply.AsSpan(8), DirectIo);
                return Errno.None;
            case FuseRequest.Flush or FuseRequest.Release: return Errno.None;
            default: return CarryForFile(request, body, ref reply);
        }
    }

    private Errno CarryForFile(FuseRequest request, ReadOnlySpan<byte> body, ref byte[] reply)
    {
        if (request == FuseRequest.Fsync) return _storage.Sync();
        if (request is not (FuseRequest.Read or FuseRequest.Write or FuseRequest.Fallocate)) return Errno.NotImplemented;
        int offset = (int)Math.Min((ulong)_storage.Length, BinaryPrimitives.ReadUInt64LittleEndian(body[8..]));
        int asked = request == FuseRequest.Fallocate ? (int)BinaryPrimitives.ReadUInt64LittleEndian(body[16..]) : BinaryPrimitives.ReadInt32LittleEndian(body[16..]);
        int length = Math.Min(asked, _storage.Length - offset);
        switch (request)
        {
            case FuseRequest.Read:
                reply = new byte[length];
                return _storage.Read(offset, reply);
            case FuseRequest.Write:
                reply = new byte[8];
                BinaryPrimitives.WriteInt32LittleEndian(reply, length);
                // A write with RWF_DSYNC carries O_DSYNC.
                return _storage.Write(offset, body.Slice(WriteHeaderBytes, length), (BinaryPrimitives.ReadUInt32LittleEndian(body[32..]) & SyncFlags) != 0);
            default: return _storage.Zero(offset, length);
        }
    }

    private byte[] Attributes(ulong node)
    {
        byte[] attributes = new byte[AttributeBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(attributes, node);
        BinaryPrimitives.WriteInt64LittleEndian(attributes.AsSpan(8), node == RootNode ? 0 : _storage.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(60), node == RootNode ? 0x41edu : 0x81a4u);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(64), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(attributes.AsSpan(80), 4096);
        return attributes;
    }

    [LibraryImport("libc", EntryPoint = "mount", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Mount(string source, string target, string type, ulong flags, string data);

    [LibraryImport("libc", EntryPoint = "umount2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Unmount(string target, int flags);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadFrom(int fd, byte[] bytes, nint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteTo(int fd, byte[] bytes, nint count);
}
