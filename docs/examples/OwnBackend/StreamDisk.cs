using Vmm.Devices;
using Vmm.Events;
using Vmm.Events.Tasks;

namespace Vmm.Examples;

/// <summary>
/// A disk whose sectors are a stream that can seek: a file that is decrypted as it is read, a part of another file, memory. One request
/// at a time has the stream, on a thread of the pool, and the reactor's thread ends it.
/// </summary>
public sealed class StreamDisk : IBlockBackend
{
    private const ulong SectorBytes = 512;
    private static readonly byte[] Zeroes = new byte[64 * 1024];

    private readonly Stream _stream;
    private readonly Lock _lock = new();

    /// <summary>Makes a disk of a stream.</summary>
    /// <param name="stream">Read, and written if it can be; the disk closes it.</param>
    public StreamDisk(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        _stream = stream;
        // A part of a sector at the end is out of reach.
        CapacityBytes = (ulong)stream.Length / SectorBytes * SectorBytes;
    }

    /// <inheritdoc/>
    public string Description => $"{_stream.GetType().Name} of {CapacityBytes} bytes";

    /// <inheritdoc/>
    public ulong CapacityBytes { get; }

    /// <inheritdoc/>
    public bool IsReadOnly => !_stream.CanWrite;

    /// <inheritdoc/>
    public IBlockEngine CreateEngine(IReactor reactor, Action onCompleted) =>
        new Engine(this, ReactorTasks.Of(reactor).Remote, onCompleted);

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private Errno CarryOut(BlockOperation operation)
    {
        try
        {
            lock (_lock)
            {
                if (operation.Kind is BlockOperationKind.Read or BlockOperationKind.Write) Move(operation);
                if (operation.Kind is BlockOperationKind.WriteZeroes) Zero(operation);
                // A discard is an offer, and a stream has nothing to give back.
                if (operation.Kind is BlockOperationKind.Flush || operation.IsDurable) Sync();
            }
            return Errno.None;
        }
        catch (IOException)
        {
            // The guest gets an I/O error; a flush that failed is remembered by the device.
            return Errno.InputOutput;
        }
    }

    private void Move(BlockOperation operation)
    {
        _stream.Position = (long)operation.Offset;
        foreach (IoVector vector in operation.Vectors)
        {
            Span<byte> guest = Bytes(vector);
            if (operation.Kind == BlockOperationKind.Read) _stream.ReadExactly(guest);
            else _stream.Write(guest);
        }
        operation.Advance(operation.Remaining);
    }

    private void Zero(BlockOperation operation)
    {
        foreach (BlockSegment segment in operation.Segments)
        {
            _stream.Position = (long)segment.Offset;
            for (ulong left = segment.Length; left > 0;)
            {
                int count = (int)Math.Min(left, (ulong)Zeroes.Length);
                _stream.Write(Zeroes.AsSpan(0, count));
                left -= (ulong)count;
            }
        }
    }

    private void Sync()
    {
        if (_stream is FileStream file) file.Flush(flushToDisk: true);
        else _stream.Flush();
    }

    // SAFETY: the pieces of an operation stay mapped until it is completed, and none is longer than the 4 GiB of a descriptor.
    private static unsafe Span<byte> Bytes(IoVector vector) => new((void*)vector.Address, checked((int)vector.Length));

    /// <summary>One queue's access to the stream.</summary>
    private sealed class Engine(StreamDisk disk, RemoteEndpoint reactor, Action onCompleted) : IBlockEngine
    {
        public void Start(BlockOperation operation) => Task.Run(() =>
        {
            Errno error = disk.CarryOut(operation);
            reactor.Post(_ =>
            {
                operation.Complete(error);
                onCompleted();
            });
        });

        public void Submit()
        {
        }

        public void Dispose()
        {
        }
    }
}
