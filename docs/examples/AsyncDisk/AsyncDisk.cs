using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Events;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Examples;

/// <summary>
/// A disk (virtio 1.2 § 5.2) in the asynchronous style: each request is a method that reads from top to bottom and waits where it has to,
/// on the
/// reactor's thread. The kernel moves the bytes between the image and the guest's memory itself. In steady state a request allocates
/// nothing.
/// </summary>
public sealed class AsyncDisk : VirtioDevice
{
    private const int SectorBytes = 512;
    private const ushort QueueSize = 128;

    /// <summary>Pieces of memory that one operation moves. A chain with more of them takes several.</summary>
    private const int PiecesMax = 64;

    /// <summary>Most bytes of one request, so that no driver has the thread describe gigabytes.</summary>
    private const ulong RequestBytesMax = 4 << 20;

    private const ulong FlushFeature = 1 << 9;

    private readonly OwnedFd _image;
    private readonly ulong _bytes;

    /// <summary>Makes a disk of an image file.</summary>
    /// <param name="name">For messages.</param>
    /// <param name="image">The file, open for reading and writing; the disk closes it.</param>
    /// <param name="bytes">Its size, whole sectors of 512 bytes.</param>
    public AsyncDisk(string name, OwnedFd image, ulong bytes) : base(VirtioDeviceType.Block, name, configLength: 8)
    {
        _image = image;
        _bytes = bytes;
        ulong sectors = bytes / SectorBytes;
        Config.Update(0, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in sectors)));
        AddQueue("requests", QueueSize, context => new Requests(this, context));
    }

    /// <inheritdoc/>
    public override ulong Features => FlushFeature;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) _image.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>
    /// The queue at work. No request is given up: the queue is quiet when each has run to its end, and the kernel is done with the guest's
    /// memory.
    /// </summary>
    private sealed class Requests : QueueWorker
    {
        private readonly AsyncDisk _disk;
        private readonly Stack<IoVectors> _vectors = new(QueueSize);
        private readonly TaskSignal _answered = new();
        private readonly ReactorTasks _tasks;
        private readonly IoRing _ring;
        private readonly RingFile _file;
        private readonly ReactorTask _publishing;

        internal Requests(AsyncDisk disk, QueueContext context) : base(context)
        {
            _disk = disk;
            _tasks = ReactorTasks.Of(context.Reactor);
            _ring = IoRing.Of(context.Reactor);
            _file = _ring.Register(disk._image);
            for (int i = 0; i < QueueSize; i++) _vectors.Push(new IoVectors(PiecesMax));
            _publishing = _tasks.Spawn(static requests => requests.PublishBatches(), this);
        }

        public override void Serve()
        {
            while (Queue.TryPop(out DescriptorChain? chain))
                _tasks.Spawn(static at => at.Requests.Serve(at.Chain), (Requests: this, Chain: chain)).Detach();
        }

        protected override void Dispose(bool disposing)
        {
            _publishing.Abort();
            _publishing.Detach();
            _file.Dispose();
            base.Dispose(disposing);
        }

        /// <summary>One request, from its start to its end.</summary>
        private async ReactorTask Serve(DescriptorChain chain)
        {
            AsyncDiskRequest request = AsyncDiskRequest.Parse(chain, _disk._bytes, RequestBytesMax);
            Errno error = request.Kind switch
            {
                BlockRequestType.In or BlockRequestType.Out when request.Status == BlockStatus.Ok => await Move(chain, request),
                BlockRequestType.Flush => (await _ring.Fsync(_file, dataOnly: true)).Error,
                _ => Errno.None,
            };
            if (error != Errno.None) Context.HostFault(error, $"cannot carry out {request.Kind}", _disk.Name);
            request.Answer(chain, error);
            _answered.Set();
        }

        /// <summary>Moves the bytes of a request, however few the kernel moves at a time.</summary>
        private async ReactorTask<Errno> Move(DescriptorChain chain, AsyncDiskRequest request)
        {
            IoVectors vectors = _vectors.Pop();
            Errno error = Errno.None;
            for (ulong done = 0; done < request.Bytes && error == Errno.None;)
            {
                request.Describe(chain, done, vectors);
                RingResult moved = request.Kind == BlockRequestType.In
                    ? await _ring.ReadV(_file, request.Offset + done, vectors)
                    : await _ring.WriteV(_file, request.Offset + done, vectors);
                // The image was checked to have the sectors: an end of the file means that another process cut it.
                error = moved.Value == 0 ? Errno.InputOutput : moved.Error;
                done += (ulong)moved.Count;
            }
            _vectors.Push(vectors);
            return error;
        }

        /// <summary>Shows the driver what was answered, once for all that ended together: this task is queued behind theirs.</summary>
        private async ReactorTask PublishBatches()
        {
            while (true)
            {
                await _answered;
                Context.Publish();
            }
        }
    }
}
