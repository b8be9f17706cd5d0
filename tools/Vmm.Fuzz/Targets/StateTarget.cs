using System.Text;
using System.Text.Json.Nodes;
using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// State that no machine saved, for a host with every device there is: what a machine with requests in flight wrote, on either ring,
/// of which any value, record or byte may be anything. It is refused in one line, or the machine runs; and after a reset it works in both
/// cases.
/// </summary>
internal sealed class StateTarget : IFuzzTarget
{
    private const ulong MemoryBytes = 1 << 20, BufferStart = MemoryBytes / 2;
    private const ushort QueueSize = 16;
    private const int ChangesMax = 4;
    private const int MessageLengthMax = 2000;
    private const string Clock = "clock", Keyboard = "keyboard-controller";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static readonly string[] Texts =
        ["", "x", "vda", "0x0", "0x7fff", "0x8000", "0xffff", "0xffffffffffffffff", "AAAA", "AAA=", "\u001b[2J", "\ud800", "version"];

    private readonly Tally _tally;
    private readonly string _directory = Scratch.NextDirectory();
    private readonly (byte[] Memory, byte[] State)[] _saved;

    internal StateTarget(Tally tally)
    {
        _tally = tally;
        _saved = [Save(0), Save(VirtioFeatures.PackedRing), Save(ulong.MaxValue)];
    }

    public void Run(FuzzInput input)
    {
        (byte[] memory, byte[] saved) = _saved[input.Next(_saved.Length)];
        byte[] state = Changed(saved, input);
        using Machine machine = new(_directory);
        machine.Host.Memory.TryWrite(0, memory);
        try
        {
            StateReader reader = StateReader.Parse(state, "state.json");
            machine.Host.Restore(reader);
            ((ISavedState)machine.Clock).Restore(reader.Record(Clock));
            ((ISavedState)machine.Keyboard).Restore(reader.Record(Keyboard));
            reader.Complete();
            _tally.Add("restored");
            machine.Run();
        }
        catch (StateException refused)
        {
            _tally.Add("refused");
            BrokenPromiseException.Unless(!refused.Message.Any(char.IsControl) && refused.Message.Length < MessageLengthMax,
                $"not one line: {refused.Message}");
        }
        machine.Prove();
    }

    public void Dispose()
    {
    }

    /// <summary>A machine of the same devices, with a request in each ring.</summary>
    private (byte[] Memory, byte[] State) Save(ulong features)
    {
        using Machine machine = new(_directory);
        GuestAllocator allocator = new(1 << 16, BufferStart - (1 << 16));
        List<DriverQueue> rings = [];
        for (int i = 0; i < machine.Host.Devices.Count; i++) rings.AddRange(machine.Start(i, features, allocator));
        machine.Host.PauseAsync().Wait();
        foreach (DriverQueue ring in rings)
        {
            ring.TryAdd([new GuestBuffer(BufferStart, 16)], [new GuestBuffer(BufferStart + 64, 16)], out _);
            ring.Publish();
        }
        StateWriter writer = new();
        machine.Host.Save(writer);
        ((ISavedState)machine.Clock).Save(writer.AddRecord(Clock));
        ((ISavedState)machine.Keyboard).Save(writer.AddRecord(Keyboard));
        using MemoryStream stream = new();
        writer.WriteTo(stream);
        byte[] memory = new byte[MemoryBytes];
        machine.Host.Memory.TryRead(0, memory);
        rings.ForEach(ring => ring.Dispose());
        return (memory, stream.ToArray());
    }

    private static byte[] Changed(byte[] state, FuzzInput input)
    {
        JsonNode root = JsonNode.Parse(state)!;
        for (int i = input.Next(ChangesMax + 1); i > 0; i--) Change(root, input);
        byte[] bytes = Encoding.UTF8.GetBytes(root.ToJsonString());
        if (input.OneIn(8)) bytes = bytes[..(input.UInt16() % bytes.Length)];
        for (int i = input.OneIn(8) ? input.Next(4) : 0; i > 0 && bytes.Length > 0; i--)
            bytes[input.UInt16() % bytes.Length] = input.Byte();
        return bytes;
    }

    /// <summary>Walks down to a value, and changes it.</summary>
    private static void Change(JsonNode root, FuzzInput input)
    {
        JsonNode node = root;
        for (; ; )
        {
            if (node is JsonArray list)
            {
                if (list.Count == 0 || input.OneIn(8))
                {
                    if (list.Count > 0 && input.OneIn(2)) list.RemoveAt(input.Next(list.Count));
                    else list.Add(list.Count > 0 ? list[input.Next(list.Count)]?.DeepClone() : Value(input));
                    return;
                }
                int index = input.Next(list.Count);
                if (list[index] is JsonObject or JsonArray) node = list[index]!;
                else
                {
                    list[index] = Value(input);
                    return;
                }
                continue;
            }
            JsonObject record = node.AsObject();
            if (record.Count == 0) return;
            string name = record.ElementAt(input.Next(record.Count)).Key;
            if (record[name] is JsonObject or JsonArray && !input.OneIn(8))
            {
                node = record[name]!;
                continue;
            }
            switch (input.Next(8))
            {
                case 0: record.Remove(name); return;
                case 1: record[input.Pick<string>(Texts)] = Value(input); return;
                default: record[name] = Value(input); return;
            }
        }
    }

    private static JsonNode? Value(FuzzInput input)
    {
        switch (input.Next(10))
        {
            case 0: return null;
            case 1: return input.OneIn(2);
            case 2: return input.Pick<string>(Texts);
            case 3: return new JsonArray([.. Enumerable.Range(0, input.Next(4)).Select(_ => new JsonObject { ["version"] = 1 })]);
            case 4: return new JsonObject { ["version"] = (long)input.Interesting() };
            case 5:
                byte[] bytes = new byte[input.Next(300)];
                input.Fill(bytes);
                return Convert.ToBase64String(bytes);
            case 6 or 7: return (long)input.Interesting();
            default: return $"0x{input.Interesting():x}";
        }
    }

    /// <summary>A machine with every device, and no vCPU.</summary>
    private sealed class Machine : IDisposable
    {
        private readonly Failures _failures = new();
        private readonly UnixSocket _wire;

        internal Machine(string directory)
        {
            (UnixSocket wire, _wire) = UnixSocket.Pair();
            (OwnedFd cable, OwnedFd end) = UnixSocket.DatagramPair();
            end.Dispose();
            Host = new DeviceHost(new SimulatedBoard(MemoryBytes), new DeviceHostOptions { Logging = _failures },
                new BlockDevice("vda", new FaultyBackend { KeepsContent = false }, new DiskSpec { Queues = 2 }),
                new EntropyDevice("rng0"), new BalloonDevice("balloon0"),
                new ConsoleDevice("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent")),
                new NetDevice("net0", NetSocket.OverDatagrams(cable)),
                new VsockDevice("vsock0", VsockDevice.CidMin, Path.Combine(directory, "v")));
            Host.AddSerial("ttyS0", new SerialPortOptions { Output = SerialOutput.To(wire) });
            Clock = new CmosDevice(interrupt: new NoLine());
        }

        internal DeviceHost Host { get; }

        internal CmosDevice Clock { get; }

        internal I8042Device Keyboard { get; } = new(() => { });

        internal DriverQueue[] Start(int device, ulong features, GuestAllocator allocator)
        {
            VirtioMmioDriver driver = Driver(device);
            ulong wanted = features | ~(VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors);
            BrokenPromiseException.Unless(driver.TryNegotiate(wanted, out ulong accepted),
                $"device {device} refused the features 0x{accepted:x}");
            DriverQueue[] rings = new DriverQueue[Host.Devices[device].Device.Queues.Count];
            for (int i = 0; i < rings.Length; i++)
            {
                rings[i] = DriverQueue.Create(Host.Memory, allocator, Math.Min(driver.QueueSizeMax(i), QueueSize), accepted);
                driver.SetUpQueue(i, rings[i].Configuration(i));
            }
            driver.AddStatus(DeviceStatus.DriverOk);
            return rings;
        }

        /// <summary>The machine goes on, and its guest kicks every queue and looks at every register of its chips.</summary>
        internal void Run()
        {
            BrokenPromiseException.Unless(Host.ResumeAsync().Wait(Patience), "the devices do not go on");
            byte[] value = new byte[4];
            for (int device = 0; device < Host.Devices.Count; device++)
            {
                for (int queue = 0; queue < Host.Devices[device].Device.Queues.Count; queue++) Driver(device).Kick(queue);
                for (uint register = 0; register < MmioRegister.Config; register += 4) Driver(device).Read(register);
            }
            for (ulong port = 0; port < Uart16550.RegisterCount; port++)
            {
                Host.Board.Ports.Read(0x3f8 + port, value.AsSpan(0, 1));
                Host.Board.Ports.Write(0x3f8 + port, value.AsSpan(0, 1));
            }
            for (int index = 0; index < 128; index++)
            {
                Clock.Write(0, [(byte)index]);
                Clock.Read(1, value.AsSpan(0, 1));
                Clock.Write(1, value.AsSpan(0, 1));
            }
            Keyboard.Read(0, value.AsSpan(0, 1));
        }

        /// <summary>Every device is reset, and answers a new driver.</summary>
        internal void Prove()
        {
            GuestAllocator allocator = new(0, BufferStart);
            for (int device = 0; device < Host.Devices.Count; device++)
            {
                VirtioMmioDriver driver = Driver(device);
                driver.Reset();
                Await(() => driver.Status == DeviceStatus.None, $"device {device} is never reset");
            }
            Array.ForEach(Start(0, 0, allocator), ring => ring.Dispose());
            DriverQueue[] random = Start(1, 0, allocator);
            random[0].TryAdd([], [new GuestBuffer(BufferStart, 8)], out _);
            random[0].Publish();
            Driver(1).Kick(0);
            UsedChain used = default;
            Await(() => random[0].TryCollect(out used), "no answer after a reset");
            BrokenPromiseException.Unless(used.Written == 8, $"{used.Written} bytes used of 8");
            random[0].Dispose();
            if (_failures.First is { } failure) throw new BrokenPromiseException(failure.ToString());
        }

        public void Dispose()
        {
            Clock.Dispose();
            Host.Dispose();
            _wire.Dispose();
        }

        private VirtioMmioDriver Driver(int device) => new(Host.Devices[device].Transport);

        private static void Await(Func<bool> condition, string otherwise)
        {
            long start = Environment.TickCount64;
            for (int spins = 0; !condition(); spins++)
            {
                BrokenPromiseException.Unless(Environment.TickCount64 - start < Patience.TotalMilliseconds, otherwise);
                if (spins < 1000) Thread.Yield(); else Thread.Sleep(1);
            }
        }
    }
}
