using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The configuration space behind the registers. What the driver writes is passed on to the device on its reactor: one call for many
/// writes, so that a driver can't pile them up.
/// </summary>
internal sealed class MmioConfigWindow(VirtioDevice device, RemoteEndpoint main, MmioRefusals refusals) : RemoteCall
{
    private const ulong Length = VirtioMmioTransport.Length - MmioRegister.Config;

    private readonly Lock _lock = new();
    private int _start = int.MaxValue;
    private int _end;

    /// <param name="offset">From the start of the space.</param>
    /// <param name="data">All zeros; gets the bytes that exist.</param>
    internal void Read(ulong offset, Span<byte> data)
    {
        if (offset < Length) device.Config.Read((int)offset, data);
        else refusals.Add("a read beyond the device");
    }

    internal void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= Length || !device.Config.Write((int)offset, data))
        {
            refusals.Add("to write configuration that is read-only or does not exist");
            return;
        }
        lock (_lock)
        {
            _start = Math.Min(_start, (int)offset);
            _end = Math.Max(_end, Math.Min((int)offset + data.Length, device.Config.Length));
        }
        main.TryPost(this);
    }

    protected override void Run(IReactor reactor)
    {
        int start, end;
        lock (_lock)
        {
            (start, end) = (_start, _end);
            (_start, _end) = (int.MaxValue, 0);
        }
        if (start < end) device.ConfigWritten(start, end - start);
    }
}
