using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>
/// The least a device can be, so that what is met is the transport, the queues and the base class: one queue that echoes, one that keeps.
/// </summary>
internal sealed class FuzzedEcho : FuzzedDevice
{
    private EchoDevice? _device;

    internal override IReadOnlyList<BatteryRequest> Proofs { get; } =
    [
        new(0, "hello"u8.ToArray(), 5) { Complaint = (content, used) => used == 5 && content.AsSpan()
            .SequenceEqual("hello"u8) ? null : $"{used} bytes" },
        new(1, [1], 0) { Provoke = device => ((EchoDevice)device).GivesBack = true },
    ];

    internal override VirtioDevice Make() => _device = new EchoDevice();

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request)
    {
        int length = input.Next(DeviceTarget.RequestBytesMax);
        request[..length].Fill(input.Byte());
        return length;
    }

    internal override void HostActs(FuzzInput input)
    {
        if (input.OneIn(2)) _device!.Grow(input.Byte());
        _device!.GivesBack = input.OneIn(2);
    }

    internal override void HostFinishes() => _device!.GivesBack = true;

    private sealed class EchoDevice : VirtioDevice
    {
        private readonly Queue<DescriptorChain> _kept = new();

        internal EchoDevice() : base(VirtioDeviceType.Console, "echo", configLength: 16)
        {
            AddQueue("echo", 64, Echo);
            AddQueue("keep", 64, context => new KeepingWorker(this, context));
            Config.AllowWrites(8, 4);
        }

        /// <summary>Whether the second queue answers; it keeps its chains otherwise.</summary>
        internal bool GivesBack { get; set; } = true;

        public override bool QueuesAreIndependent => true;

        internal void Grow(byte size)
        {
            Config.Update(0, [size]);
            Driver?.Interrupt.SignalConfig();
            ServeQueue(1);
        }

        private static void Echo(QueueContext context)
        {
            VirtQueue queue = context.Queue;
            Span<byte> bytes = stackalloc byte[256];
            while (queue.TryPop(out DescriptorChain? chain))
            {
                ChainReader reader = chain.Readable;
                ChainWriter writer = chain.Writable;
                uint done = 0;
                // At most so much of a chain: it may claim gigabytes.
                for (int read = reader.CopyTo(bytes); read > 0 && done < 4096; read = reader.CopyTo(bytes))
                {
                    int written = writer.CopyFrom(bytes[..read]);
                    if (written == 0) break;
                    done += (uint)written;
                }
                queue.Push(chain, done);
            }
        }

        private void Keep(VirtQueue queue)
        {
            while (queue.TryPop(out DescriptorChain? chain)) _kept.Enqueue(chain);
            if (GivesBack) GiveBack(queue);
        }

        private void GiveBack(VirtQueue queue)
        {
            while (_kept.TryDequeue(out DescriptorChain? chain)) queue.Push(chain, 0);
        }

        private sealed class KeepingWorker(EchoDevice device, QueueContext context) : QueueWorker(context)
        {
            public override void Serve() => device.Keep(Queue);

            public override void Quiesce(QuiesceReason reason) => device.GiveBack(Queue);
        }
    }
}
