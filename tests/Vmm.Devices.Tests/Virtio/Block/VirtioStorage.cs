using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>
/// A disk of ours under the host's own kernel: a file system in user space whose file is a simulated guest's disk. What the kernel's file
/// systems and block layer do to that file become requests in a virtio queue, as a guest's kernel makes them.
/// </summary>
/// <param name="bytes">Of the disk.</param>
/// <param name="device">Served, and disposed, on the file system's thread, which is the guest's and the reactor's too.</param>
/// <param name="writesThrough">The driver switches the cache off and sends no flush from then on, as Linux does.</param>
internal sealed class VirtioStorage(int bytes, BlockDevice device, bool writesThrough) : FuseStorage
{
    private const int WritebackOffset = 32, SectorBytes = BlockProtocol.SectorSize;

    private SimulatedGuest? _guest;

    internal override int Length => bytes;

    private SimulatedGuest Guest => _guest ??= Start();

    internal override Errno Read(int offset, Span<byte> data)
    {
        DriverRequest request = Guest.Queue(0).Read((ulong)(offset / SectorBytes), data.Length / SectorBytes);
        Errno error = Run(request, out byte[] content);
        content.AsSpan(0, data.Length).CopyTo(data);
        return error;
    }

    internal override Errno Write(int offset, ReadOnlySpan<byte> data, bool durable)
    {
        Errno error = Run(Guest.Queue(0).Write((ulong)(offset / SectorBytes), data.ToArray()), out _);
        return error == Errno.None && durable ? Sync() : error;
    }

    internal override Errno Zero(int offset, int length)
    {
        const int Most = 4 << 20;
        for (int done = 0; done < length; done += Most)
        {
            uint sectors = (uint)(Math.Min(Most, length - done) / SectorBytes);
            Errno error = Run(Guest.Queue(0).Segment(BlockRequestType.WriteZeroes, (ulong)((offset + done) / SectorBytes), sectors, flags: 1), out _);
            if (error != Errno.None) return error;
        }
        return Errno.None;
    }

    internal override Errno Sync() => writesThrough ? Errno.None : Run(Guest.Queue(0).Ask(BlockRequestType.Flush), out _);

    internal override void Close() => _guest?.Dispose();

    private SimulatedGuest Start()
    {
        SimulatedGuest guest = SimulatedGuest.For(device, new SimulatedGuestOptions { MemoryBytes = 64 << 20 });
        if (writesThrough) guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
        return guest;
    }

    private Errno Run(DriverRequest request, out byte[] content)
    {
        Guest.Kick(0).RunUntil(() => request.IsUsed);
        content = request.Content;
        Guest.Queue(0).Free(request);
        return content[^1] == (byte)BlockStatus.Ok ? Errno.None : Errno.InputOutput;
    }
}
