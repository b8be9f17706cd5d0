namespace Vmm.Devices.Simulation;

/// <summary>Gets a disk's bytes in order. The span is valid for the call only.</summary>
internal delegate void DiskReader(ReadOnlySpan<byte> bytes);

// What the shell has the disk do. Each gives null if it went well, else a sentence.
internal sealed partial class GuestDisk
{
    /// <summary>
    /// A sweep kicks when it has made so much to do: the device works while the CPU makes more, and is not kicked for each small request.
    /// </summary>
    private const uint KickBytes = 16 * 1024;

    private const string Interrupted = "interrupted";

    /// <summary>The SHA-256 of the whole disk, read on one CPU with many requests in flight.</summary>
    internal async ValueTask<(string? Hex, string? Failure)> Hash(KernelCpu kernel)
    {
        GuestSha256 hash = new();
        GuestProgress progress = new(kernel.Kernel, $"sha256 {Name}");
        string? failure = await ReadInOrder(kernel, 0, Sectors, hash.Add, progress);
        return failure is null ? (hash.Finish(), null) : (null, failure);
    }

    /// <summary>Reads bytes at any offset.</summary>
    internal async ValueTask<string?> Read(KernelCpu kernel, ulong offset, Memory<byte> destination)
    {
        ulong first = offset / BlockProtocol.SectorSize;
        ulong end = Align(offset + (ulong)destination.Length);
        int skip = (int)(offset - first * BlockProtocol.SectorSize);
        int done = 0;
        return await ReadInOrder(kernel, first, end - first, bytes =>
        {
            bytes = bytes[skip..];
            skip = 0;
            bytes = bytes[..Math.Min(bytes.Length, destination.Length - done)];
            bytes.CopyTo(destination.Span[done..]);
            done += bytes.Length;
        });
    }

    /// <summary>Writes bytes at any offset; sectors that are written in part are read first.</summary>
    internal async ValueTask<string?> Write(KernelCpu kernel, ulong offset, ReadOnlyMemory<byte> source)
    {
        while (source.Length > 0)
        {
            ulong sector = offset / BlockProtocol.SectorSize;
            int skip = (int)(offset % BlockProtocol.SectorSize);
            int length = (int)Math.Min((uint)source.Length, RequestBytesMax - (uint)skip);
            uint bytes = (uint)(Align(offset + (ulong)length) - sector) * BlockProtocol.SectorSize;
            bool isPartial = skip != 0 || bytes != (uint)length;
            if (isPartial && await Execute(kernel, BlockRequestType.In, sector, bytes) is { } unread) return unread;
            source.Span[..length].CopyTo(DataOf(kernel, _requests[kernel.Index][0], bytes)[skip..]);
            if (await Execute(kernel, BlockRequestType.Out, sector, bytes) is { } failure) return failure;
            source = source[length..];
            offset += (uint)length;
        }
        return null;
    }

    /// <summary>Most bytes of a request of <see cref="Sweep"/>.</summary>
    internal uint SweepBytesMax => Math.Min(GuestPages.DataUnit, RequestBytesMax);

    /// <summary>Writes or checks the whole disk, with all CPUs.</summary>
    internal async ValueTask<string?> Sweep(KernelCpu kernel, ulong seed, uint blockBytes, bool isFill)
    {
        GuestProgress progress = new(kernel.Kernel, $"{(isFill ? "fill" : "verify")} {Name}");
        DiskSweep sweep = new(Sectors, blockBytes / BlockProtocol.SectorSize, seed, isFill, progress);
        await kernel.Kernel.RunOnAllCpus(kernel, cpu => SweepOn(cpu, sweep));
        await progress.End(kernel);
        return sweep.Failure;
    }

    /// <summary>Makes what was written durable.</summary>
    internal async ValueTask<string?> Flush(KernelCpu kernel) =>
        Has(BlockProtocol.FeatureFlush) ? await Execute(kernel, BlockRequestType.Flush, 0, 0) : null;

    /// <summary>Gives whole sectors back to the host.</summary>
    internal async ValueTask<string?> Trim(KernelCpu kernel, ulong sector, ulong sectors)
    {
        if (!Has(BlockProtocol.FeatureDiscard)) return "the disk can't give sectors back";
        uint step = Math.Max(_discardBytesMax / BlockProtocol.SectorSize, 1);
        for (ulong done = 0; done < sectors; done += step)
        {
            uint bytes = (uint)Math.Min(step, sectors - done) * BlockProtocol.SectorSize;
            if (await Execute(kernel, BlockRequestType.Discard, sector + done, bytes) is { } failure) return failure;
            if (kernel.Kernel.Console.AbortRequested) return Interrupted;
        }
        return null;
    }

    /// <summary>One request from start to end.</summary>
    private async ValueTask<string?> Execute(KernelCpu kernel, BlockRequestType type, ulong sector, uint bytes)
    {
        DiskRequest request = _requests[kernel.Index][0];
        await Submit(kernel, request, type, sector, bytes);
        await Kick(kernel);
        while (!request.IsDone) await WaitForDevice(kernel, request);
        return Finish(request) ? null : Describe(request);
    }

    private async ValueTask<string?> ReadInOrder(KernelCpu kernel, ulong firstSector, ulong sectors, DiskReader reader,
        GuestProgress? progress = null)
    {
        DiskRequest[] requests = _requests[kernel.Index];
        ulong perRequest = RequestBytesMax / BlockProtocol.SectorSize;
        ulong count = (sectors + perRequest - 1) / perRequest;
        ulong submitted = 0;
        string? failure = null;
        for (ulong done = 0; done < (failure is null ? count : submitted); done++)
        {
            for (; failure is null && submitted < count && submitted - done < (ulong)requests.Length; submitted++)
            {
                ulong offset = submitted * perRequest;
                uint bytes = (uint)Math.Min(perRequest, sectors - offset) * BlockProtocol.SectorSize;
                await Submit(kernel, requests[submitted % (ulong)requests.Length], BlockRequestType.In, firstSector + offset, bytes);
            }
            await Kick(kernel);
            DiskRequest next = requests[done % (ulong)requests.Length];
            while (!next.IsDone) await WaitForDevice(kernel, next);
            if (!Finish(next)) failure ??= Describe(next);
            else if (failure is null) reader(DataOf(kernel, next, next.Bytes));
            await kernel.Yield();
            if (progress is { IsDue: true }) await progress.Show(kernel, done + 1, count);
            if (kernel.Kernel.Console.AbortRequested) failure ??= Interrupted;
        }
        if (progress is not null) await progress.End(kernel);
        return failure;
    }

    private async ValueTask SweepOn(KernelCpu kernel, DiskSweep sweep)
    {
        DiskRequest[] requests = _requests[kernel.Index];
        int busy;
        do
        {
            busy = 0;
            uint unkicked = 0;
            for (int i = 0; i < requests.Length; i++)
            {
                DiskRequest request = requests[i];
                if (request.IsBusy && request.IsDone) Check(kernel, request, sweep);
                if (!request.IsBusy && sweep.TryNext(out ulong sector, out uint count))
                {
                    uint bytes = count * BlockProtocol.SectorSize;
                    if (sweep.IsFill) DiskPattern.Fill(sweep.Seed, sector, DataOf(kernel, request, bytes));
                    await Submit(kernel, request, sweep.IsFill ? BlockRequestType.Out : BlockRequestType.In, sector, bytes);
                    unkicked += bytes;
                    if (unkicked >= KickBytes)
                    {
                        await Kick(kernel);
                        unkicked = 0;
                    }
                }
                if (request.IsBusy) busy++;
            }
            if (unkicked > 0) await Kick(kernel);
            await kernel.Yield();
            if (kernel.Index == 0 && sweep.Progress.IsDue) await sweep.Progress.Show(kernel, sweep.Taken, sweep.Blocks);
            if (kernel.Kernel.Console.AbortRequested) sweep.Fail(Interrupted);
            if (busy > 0) await WaitForDevice(kernel, null);
        }
        while (busy > 0);
    }

    private void Check(KernelCpu kernel, DiskRequest request, DiskSweep sweep)
    {
        if (!Finish(request))
        {
            sweep.Fail(Describe(request));
            return;
        }
        if (sweep.IsFill) return;
        int right = DiskPattern.Match(sweep.Seed, request.Sector, DataOf(kernel, request, request.Bytes));
        if (right == (int)request.Bytes) return;
        sweep.Fail($"sector {request.Sector + (ulong)right / BlockProtocol.SectorSize} is not what seed {sweep.Seed} makes");
    }

    private string Describe(DiskRequest request)
    {
        if (IsBroken) return "the device is broken until it is reset";
        string what = request.Type switch
        {
            BlockRequestType.In => $"read {request.Bytes} bytes at sector {request.Sector}",
            BlockRequestType.Out => $"write {request.Bytes} bytes at sector {request.Sector}",
            BlockRequestType.Discard => $"trim {request.Bytes} bytes at sector {request.Sector}",
            _ => "flush",
        };
        return $"cannot {what}: {(request.Status == BlockStatus.Unsupported ? "not supported" : "I/O error")}";
    }

    /// <summary>The sector behind the one that holds the last byte before an offset.</summary>
    private static ulong Align(ulong offset) => (offset + BlockProtocol.SectorSize - 1) / BlockProtocol.SectorSize;
}
