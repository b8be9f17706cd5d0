using Vmm.Events;
using Vmm.Events.Buffers;
using Vmm.Events.Rings;
using Vmm.Events.Tasks;

namespace Vmm.Examples.Guide;

/// <summary>Guide 2: a file is copied by the kernel, in a task that reads from top to bottom.</summary>
public static class FileCopy
{
    private const int PieceBytes = 64 * 1024;
    private const int ReadOnly = 0, WriteOnlyNew = 0x241;

    /// <summary>Copies a file, and gives its length.</summary>
    public static async Task<long> CopyAsync(ReactorThread thread, string from, string to) =>
        // A task runs on its reactor's thread. AsTask lets the outside world wait for it.
        await thread.Remote.InvokeAsync(reactor =>
            ReactorTasks.Of(reactor).Spawn(static job => Copy(job.Ring, job.From, job.To), (Ring: IoRing.Of(reactor), From: from, To: to))
                .AsTask()).Unwrap();

    private static async ReactorTask<long> Copy(IoRing ring, string from, string to)
    {
        DescriptorResult opened = await ring.Open(from, ReadOnly);
        opened.Result.ThrowIfFailed($"cannot open {from}");
        DescriptorResult made = await ring.Open(to, WriteOnlyNew);
        made.Result.ThrowIfFailed($"cannot make {to}");
        using OwnedFd sourceFd = opened.Descriptor!, targetFd = made.Descriptor!;
        using RingFile source = ring.Register(sourceFd), target = ring.Register(targetFd);
        using SlabPool pool = new();

        ulong offset = 0;
        while (true)
        {
            // A buffer goes into the operation and comes back with its result: while the kernel has it, no one else can touch it.
            BufferResult read = await ring.ReadAll(source, pool.Rent(PieceBytes), PieceBytes, offset);
            read.Result.ThrowIfFailed($"cannot read {from}");
            if (read.Buffer.Written == 0)
            {
                read.Buffer.Release();
                return (long)offset;
            }
            // Frozen bytes may be shared and are not written any more.
            int length = read.Buffer.Written;
            FrozenBuffersResult written = await ring.WriteAll(target, [read.Buffer.Freeze(length)], offset);
            foreach (FrozenBuffer piece in written.Buffers) piece.Release();
            written.Result.ThrowIfFailed($"cannot write {to}");
            offset += (ulong)length;
        }
    }
}
