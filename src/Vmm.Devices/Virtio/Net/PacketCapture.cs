using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A file of frames as tcpdump(1) and Wireshark read it (pcap, with nanoseconds). For diagnosis: each frame is one write of the reactor
/// that carries it. Thread-safe.
/// </summary>
internal sealed class PacketCapture : IDisposable
{
    /// <summary>A guest must not fill the host's disk.</summary>
    private const long BytesMax = 1L << 30;

    private const uint MagicOfNanoseconds = 0xa1b2_3c4d;
    private const ushort VersionMajor = 2, VersionMinor = 4;
    private const uint Ethernet = 1;
    private const int FrameBytesMax = 1 << 18;
    private const int FileHeaderBytes = 24, RecordHeaderBytes = 16;
    private const uint OwnerOnly = 0x180;

    private readonly Lock _lock = new();
    private readonly byte[] _record = new byte[RecordHeaderBytes + FrameBytesMax];
    private readonly Action<Errno> _onStopped;
    private readonly long _bytesMax;
    private OwnedFd? _file;
    private long _written = FileHeaderBytes;

    private PacketCapture(OwnedFd file, Action<Errno> onStopped, long bytesMax)
    {
        _file = file;
        _onStopped = onStopped;
        _bytesMax = bytesMax;
    }

    /// <summary>Begins a file, which only this user may read.</summary>
    /// <param name="path">A file that is not there yet, or empty: a sandbox makes it before it forbids to.</param>
    /// <param name="onStopped">Called once, when the file is full (<see cref="Errno.NoSpace"/>) or can't be written.</param>
    /// <param name="bytesMax">How long the file may get.</param>
    /// <exception cref="NetworkException">The file can't be made; the message says why.</exception>
    internal static PacketCapture Begin(string path, Action<Errno> onStopped, long bytesMax = BytesMax)
    {
        int fd = FileCalls.Open(path,
            FileCalls.O_WRONLY | FileCalls.O_CREAT | FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK, OwnerOnly);
        if (fd < 0)
        {
            Errno error = CallResult.LastError;
            throw new NetworkException($"capture '{path}' cannot be made: {KernelException.Describe(error)}") { HResult = (int)error };
        }
        OwnedFd file = new(fd);
        if (MemoryCalls.Stat(fd, out FileStatus status) != Errno.None || status.Size != 0)
        {
            file.Dispose();
            throw new NetworkException($"capture '{path}': the file is there already; remove it, or name another");
        }
        Span<byte> header = stackalloc byte[FileHeaderBytes];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, MagicOfNanoseconds);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], VersionMajor);
        BinaryPrimitives.WriteUInt16LittleEndian(header[6..], VersionMinor);
        BinaryPrimitives.WriteUInt32LittleEndian(header[16..], FrameBytesMax);
        BinaryPrimitives.WriteUInt32LittleEndian(header[20..], Ethernet);
        Errno refused = StreamCalls.Write(fd, header, out int written);
        if (refused == Errno.None && written == header.Length) return new PacketCapture(file, onStopped, bytesMax);
        file.Dispose();
        throw new NetworkException($"capture '{path}' cannot be written: {KernelException.Describe(refused)}");
    }

    /// <summary>Adds a frame.</summary>
    /// <param name="vectors">Where it lies.</param>
    /// <param name="skip">Bytes before it: a virtio_net_hdr.</param>
    /// <param name="length">Bytes of both; more in the vectors are not the frame's.</param>
    internal void Add(ReadOnlySpan<IoVector> vectors, int skip, long length)
    {
        lock (_lock)
        {
            if (_file is null) return;
            int captured = 0;
            long left = length;
            foreach (IoVector vector in vectors)
            {
                long here = Math.Min((long)vector.Length, left);
                int skipped = (int)Math.Min(skip, here);
                int taken = (int)Math.Min(here - skipped, FrameBytesMax - captured);
                vector.Slice((nuint)skipped, taken).CopyTo(_record.AsSpan(RecordHeaderBytes + captured));
                (skip, left, captured) = (skip - skipped, left - here, captured + taken);
            }
            long nanoseconds = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick;
            Span<byte> header = _record;
            BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)(nanoseconds / 1_000_000_000));
            BinaryPrimitives.WriteUInt32LittleEndian(header[4..], (uint)(nanoseconds % 1_000_000_000));
            BinaryPrimitives.WriteInt32LittleEndian(header[8..], captured);
            BinaryPrimitives.WriteInt32LittleEndian(header[12..], captured);
            Write(_record.AsSpan(0, RecordHeaderBytes + captured));
        }
    }

    public void Dispose()
    {
        lock (_lock) Close();
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        Errno errno = Errno.None;
        if (_written + bytes.Length > _bytesMax) errno = Errno.NoSpace;
        else if ((errno = StreamCalls.Write(_file!.Number, bytes, out int written)) == Errno.None && written < bytes.Length)
            errno = Errno.NoSpace;
        _written += bytes.Length;
        if (errno == Errno.None) return;
        Close();
        _onStopped(errno);
    }

    private void Close()
    {
        _file?.Dispose();
        _file = null;
    }
}
