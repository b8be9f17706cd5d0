using System.Buffers.Binary;
using System.Diagnostics;
using System.Numerics;

namespace Vmm.Devices.Simulation;

/// <summary>The guest's driver of a virtio network card (virtio 1.2 § 5.1), one queue pair, and its Internet. On CPU 0.</summary>
internal sealed class GuestNet(GuestTransport transport, string name) : GuestDriver(transport, name)
{
    private const ulong WantedFeatures = NetProtocol.FeatureMac | NetProtocol.FeatureMtu | NetProtocol.FeatureStatus;
    private const ushort ReceiveBuffers = 64;
    private const int MtuStandard = 1500;
    private const int VlanTagLength = 4;
    private const int ReceiveQueue = 0, TransmitQueue = 1;

    private GuestReceiveQueue? _receive;
    private GuestQueue? _transmit;
    private long _received;
    private long _sent;

    internal NetStack Stack { get; } = new();

    /// <summary>The largest packet.</summary>
    internal int Mtu { get; private set; } = MtuStandard;

    /// <summary>Whether the cable is plugged in.</summary>
    internal bool IsLinkUp { get; private set; } = true;

    internal override string Description => $"network card, {Stack.Mac}, mtu {Mtu}";

    internal override string Statistics =>
        $"{_received} frames in, {_sent} frames out, {(_receive?.Kicks ?? 0) + (_transmit?.Kicks ?? 0)} kicks, {Interrupts} interrupts";

    /// <summary>Bytes of a buffer: a power of two, as the guest's memory is handed out.</summary>
    private int BufferBytes =>
        (int)BitOperations.RoundUpToPowerOf2((uint)(NetProtocol.HeaderLengthMax + NetPacket.EthernetLength + VlanTagLength + Mtu));

    internal override async ValueTask<string?> Start(KernelCpu kernel)
    {
        if (!await Transport.Negotiate(WantedFeatures)) return "the device refuses the features";
        byte[] config = await Transport.ReadConfig(NetProtocol.ConfigLength);
        Stack.Mac = Has(NetProtocol.FeatureMac) ? new MacAddress(config) : MacAddress.Random();
        if (Has(NetProtocol.FeatureMtu)) Mtu = BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(NetProtocol.ConfigMtu));
        ReadStatus(config);
        _receive = await GuestReceiveQueue.Start(kernel, this, ReceiveQueue, ReceiveBuffers, (uint)BufferBytes);
        _transmit = await GuestQueue.Start(kernel, this, TransmitQueue, (uint)BufferBytes);
        if (_receive is null || _transmit is null) return "no queue, or not enough guest memory for it";
        await Transport.SetStatus(DeviceStatus.DriverOk);
        await Work(kernel);
        return null;
    }

    /// <summary>Takes the frames that came, and answers them.</summary>
    internal override async ValueTask Work(KernelCpu kernel)
    {
        HasWork = false;
        if (Has(NetProtocol.FeatureStatus)) ReadStatus(await Transport.ReadConfig(NetProtocol.ConfigLength));
        do
        {
            while (_receive!.TryTake(out GuestBuffer buffer))
            {
                byte[] frame = new byte[Math.Max(0, (int)buffer.Length - NetProtocol.HeaderLengthMax)];
                kernel.Cpu.Memory.TryRead(buffer.Address + NetProtocol.HeaderLengthMax, frame);
                _receive.GiveBack(buffer.Address);
                _received++;
                if (Stack.Receive(frame) is { } answer) await Send(kernel, answer);
            }
            await _receive.Kick(kernel);
        }
        while (!_receive.PrepareToWait());
    }

    /// <summary>Sends a frame that leaves nothing undone.</summary>
    internal async ValueTask Send(KernelCpu kernel, byte[] frame)
    {
        uint length = (uint)(NetProtocol.HeaderLengthMax + frame.Length);
        if (length > BufferBytes) return;
        kernel.Cpu.Memory.TryWrite(_transmit!.Data, new byte[NetProtocol.HeaderLengthMax]);
        kernel.Cpu.Memory.TryWrite(_transmit.Data + NetProtocol.HeaderLengthMax, frame);
        if (await _transmit.Execute(kernel, new GuestBuffer(_transmit.Data, length), null) is not null) _sent++;
    }

    /// <summary>Waits until something is so; the network is served meanwhile.</summary>
    /// <param name="kernel">The kernel on CPU 0.</param>
    /// <param name="condition">Looked at after each frame.</param>
    /// <param name="patience">The longest wait. With one the CPU does not halt: nothing else would wake it. Null: for ever.</param>
    /// <returns>False if it is not so: the time is up, it was aborted, or the device can't go on.</returns>
    internal async ValueTask<bool> WaitUntil(KernelCpu kernel, Func<bool> condition, TimeSpan? patience = null)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            while (HasWork) await Work(kernel);
            if (condition()) return true;
            if (IsBroken || kernel.Kernel.Console.AbortRequested || Stopwatch.GetElapsedTime(start) > patience) return false;
            if (patience is null) await kernel.WaitForInterrupt();
            else await kernel.Yield();
        }
    }

    protected override void OnUsedBuffers(KernelCpu kernel) => HasWork = true;

    protected override void OnConfigChanged() => HasWork = true;

    private void ReadStatus(byte[] config) =>
        IsLinkUp = (BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(NetProtocol.ConfigStatus)) & NetProtocol.StatusLinkUp) != 0;
}
