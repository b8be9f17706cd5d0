using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vmm.Devices.Simulation;

/// <summary>
/// The guest's driver of a virtio balloon (virtio 1.2 § 5.5). It follows the host's target as soon as the shell waits, reports its
/// statistics when asked, and gives up the free pages at the end of memory first.
/// </summary>
internal sealed class GuestBalloon(GuestTransport transport, string name) : GuestDriver(transport, name)
{
    private const uint PagesPerRequest = 256;
    private const uint RequestBytes = PagesPerRequest * sizeof(uint);
    private const uint StatisticsBytes = 2 * 10;
    private const ulong ReportBytesMax = 4 << 20;

    private const ulong WantedFeatures = BalloonProtocol.FeatureStatistics | BalloonProtocol.FeatureReporting;

    private GuestQueue? _inflate;
    private GuestQueue? _deflate;
    private GuestQueue? _statistics;
    private GuestQueue? _reporting;
    private GuestPages? _memory;
    private uint _followed;

    /// <summary>Pages given up.</summary>
    internal uint Pages { get; private set; }

    /// <summary>Free pages that are not given up.</summary>
    internal uint PagesLeft => _memory!.FreePages - Pages;

    internal override string Description => $"balloon, {Bytes(Pages)} bytes given up";

    internal override string Statistics =>
        $"{Bytes(Pages)} bytes given up, {(_inflate?.Kicks ?? 0) + (_deflate?.Kicks ?? 0)} kicks, {Interrupts} interrupts";

    internal override async ValueTask<string?> Start(KernelCpu kernel)
    {
        _memory = kernel.Kernel.Pages;
        if (!await Transport.Negotiate(WantedFeatures)) return "the device refuses the features";
        int queue = 0;
        _inflate = await GuestQueue.Start(kernel, this, queue++, RequestBytes);
        _deflate = await GuestQueue.Start(kernel, this, queue++, RequestBytes);
        // A queue that was not negotiated takes no number.
        if (Has(BalloonProtocol.FeatureStatistics)) _statistics = await GuestQueue.Start(kernel, this, queue++, StatisticsBytes);
        if (Has(BalloonProtocol.FeatureReporting)) _reporting = await GuestQueue.Start(kernel, this, queue, 0);
        if (_inflate is null || _deflate is null) return "no queue, or not enough guest memory for it";
        await Transport.SetStatus(DeviceStatus.DriverOk);
        if (_statistics is not null) await ReportStatistics(kernel);
        HasWork = true;
        return null;
    }

    /// <summary>What the host may have asked for meanwhile: statistics, another target.</summary>
    internal override async ValueTask Work(KernelCpu kernel)
    {
        HasWork = false;
        await ReportStatisticsIfAsked(kernel);
        byte[] config = await Transport.ReadConfig(BalloonProtocol.ConfigLength);
        uint target = BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(BalloonProtocol.ConfigTarget));
        if (target == _followed) return;
        _followed = target;
        await SetPages(kernel, Math.Min(target, _memory!.FreePages));
    }

    /// <summary>Gives pages up, or takes some back, until so many are given up.</summary>
    /// <returns>Null if it is so now; else a sentence.</returns>
    internal async ValueTask<string?> SetPages(KernelCpu kernel, ulong pages)
    {
        if (pages > _memory!.FreePages) return $"{pages * BalloonProtocol.PageBytes} bytes can not be given up: "
            + $"of {_memory.MemoryBytes} bytes of memory {Bytes(_memory.FreePages)} are free";
        while (Pages != pages)
        {
            bool inflates = Pages < pages;
            uint count = (uint)Math.Min(inflates ? pages - Pages : Pages - pages, PagesPerRequest);
            uint given = inflates ? Pages + count : Pages;
            GuestQueue queue = inflates ? _inflate! : _deflate!;
            WriteNumbers(kernel, queue.Data, given, count);
            if (await queue.Execute(kernel, new GuestBuffer(queue.Data, count * sizeof(uint)), null) is null)
                return "the device is broken until it is reset";
            Pages = inflates ? given : given - count;
            await Transport.WriteConfig(BalloonProtocol.ConfigActual, Pages);
            await kernel.Yield();
            if (kernel.Kernel.Console.AbortRequested) return "interrupted";
        }
        await ReportStatisticsIfAsked(kernel);
        return null;
    }

    /// <summary>Writes to free pages that are not given up, the lowest first, so that the host has to provide them.</summary>
    internal void Touch(KernelCpu kernel, uint pages)
    {
        for (uint page = 0; page < pages; page++)
        {
            if (kernel.Cpu.Memory.TryGetSpan(_memory!.AddressOfFree(page), (uint)BalloonProtocol.PageBytes, out Span<byte> bytes))
                bytes.Fill((byte)(page | 1));
        }
    }

    /// <summary>Reports the free pages to the host, which may take their content (virtio 1.2 § 5.5.6.7).</summary>
    /// <returns>Bytes reported; null if the device does not want to know, or can't go on.</returns>
    internal async ValueTask<ulong?> Report(KernelCpu kernel)
    {
        if (_reporting is null) return null;
        ulong reported = 0;
        for (uint page = 0, count; page < PagesLeft; page += count)
        {
            ulong start = _memory!.AddressOfFree(page);
            count = RunLength(page);
            if (await _reporting.Execute(kernel, null, new GuestBuffer(start, count * (uint)BalloonProtocol.PageBytes)) is null)
                return null;
            reported += Bytes(count);
        }
        return reported;
    }

    // What waits on CPU 0 looks again when it wakes; the statistics may be wanted.
    protected override void OnUsedBuffers(KernelCpu kernel) => HasWork = true;

    protected override void OnConfigChanged() => HasWork = true;

    /// <summary>What is reported to the host about the guest's memory.</summary>
    internal IReadOnlyList<(BalloonStatistic Tag, ulong Value)> Memory =>
    [
        (BalloonStatistic.TotalBytes, _memory!.MemoryBytes - Bytes(Pages)),
        (BalloonStatistic.FreeBytes, Bytes(PagesLeft)),
    ];

    private async ValueTask ReportStatisticsIfAsked(KernelCpu kernel)
    {
        if (_statistics is not null && _statistics.TryFinish(out _)) await ReportStatistics(kernel);
    }

    /// <summary>Gives the device a buffer of statistics, which it keeps until it wants the next.</summary>
    private async ValueTask ReportStatistics(KernelCpu kernel)
    {
        byte[] entries = new byte[StatisticsBytes];
        BalloonStatisticEntry[] statistics = [.. Memory.Select(entry =>
            new BalloonStatisticEntry { Tag = entry.Tag, Value = entry.Value })];
        MemoryMarshal.AsBytes<BalloonStatisticEntry>(statistics).CopyTo(entries);
        kernel.Cpu.Memory.TryWrite(_statistics!.Data, entries);
        await _statistics.Begin(kernel, new GuestBuffer(_statistics.Data, StatisticsBytes), null);
        if (!_statistics.PrepareToWait()) HasWork = true;
    }

    /// <summary>Free pages from one on that lie behind each other and fit a report.</summary>
    private uint RunLength(uint first)
    {
        uint count = 1;
        while (first + count < PagesLeft && Bytes(count) < ReportBytesMax
            && _memory!.AddressOfFree(first + count) == _memory.AddressOfFree(first) + Bytes(count)) count++;
        return count;
    }

    /// <summary>Writes the numbers of the pages that are given up last when so many are given up.</summary>
    private void WriteNumbers(KernelCpu kernel, ulong address, uint given, uint count)
    {
        uint[] numbers = new uint[count];
        for (uint i = 0; i < count; i++) numbers[i] =
            (uint)(_memory!.AddressOfFree(_memory.FreePages - given + i) / BalloonProtocol.PageBytes);
        kernel.Cpu.Memory.TryWrite(address, MemoryMarshal.AsBytes<uint>(numbers));
    }

    private static ulong Bytes(uint pages) => pages * BalloonProtocol.PageBytes;
}
