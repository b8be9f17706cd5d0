namespace Vmm.EndToEnd;

/// <summary>
/// A kernel of few instructions that brings the disk of its machine up with two queues, reads a sector by each, and powers off when both
/// are answered.
/// </summary>
internal static class TwoQueueKernel
{
    // Where a machine has its first device, and its port for powering off.
    private const uint Device = 0xd000_0000;
    private const ushort PowerPort = 0x600;
    private const byte PowerOff = 0x34;

    // Registers of virtio-mmio (virtio 1.2 § 4.2.2).
    private const int DriverFeatures = 0x20, DriverFeaturesSel = 0x24, QueueSel = 0x30, QueueNum = 0x38, QueueReady = 0x44, QueueNotify = 0x50,
        Status = 0x70, QueueDescLow = 0x80, QueueDriverLow = 0x90, QueueDeviceLow = 0xa0;

    private const uint MultiQueue = 1 << 12, Version1 = 1;
    private const uint QueueSize = 8;

    /// <summary>Memory of a queue: descriptors, available ring, used ring, header, data and status, a page each.</summary>
    private const int Memory = 0x20_0000, MemoryOfQueue = 0x1_0000, Page = 0x1000;

    internal static void Write(string path)
    {
        List<byte> code = [0xbf, .. BitConverter.GetBytes(Device)]; // mov edi, Device
        void Set(int register, uint value) => code.AddRange([0xc7, 0x87, .. BitConverter.GetBytes(register), .. BitConverter.GetBytes(value)]); // mov dword [rdi + register], value
        void Put(int address, uint value) => code.AddRange([0xc7, 0x04, 0x25, .. BitConverter.GetBytes(address), .. BitConverter.GetBytes(value)]); // mov dword [address], value

        foreach (uint status in (uint[])[0, 1, 3]) Set(Status, status);
        foreach ((uint half, uint features) in ((uint, uint)[])[(0, MultiQueue), (1, Version1)])
        {
            Set(DriverFeaturesSel, half);
            Set(DriverFeatures, features);
        }
        Set(Status, 0xb);
        for (int queue = 0; queue < 2; queue++)
        {
            int descriptors = Memory + queue * MemoryOfQueue, available = descriptors + Page, used = available + Page, header = used + Page;
            Set(QueueSel, (uint)queue);
            Set(QueueNum, QueueSize);
            Set(QueueDescLow, (uint)descriptors);
            Set(QueueDriverLow, (uint)available);
            Set(QueueDeviceLow, (uint)used);
            Set(QueueReady, 1);
            // A read (§ 5.2.6) of sector 0: header, data, status. The zeros are there already.
            (int Length, uint Flags)[] buffers = [(16, 1), (512, 3), (1, 2)];
            for (int i = 0; i < buffers.Length; i++)
            {
                Put(descriptors + i * 16, (uint)(header + i * Page));
                Put(descriptors + i * 16 + 8, (uint)buffers[i].Length);
                Put(descriptors + i * 16 + 12, buffers[i].Flags | (uint)(i + 1) << 16);
            }
            Put(available, 1 << 16);
        }
        Set(Status, 0xf);
        for (uint queue = 0; queue < 2; queue++) Set(QueueNotify, queue);
        for (int queue = 0; queue < 2; queue++)
        {
            int used = Memory + queue * MemoryOfQueue + 2 * Page;
            // again: pause; cmp word [used + 2], 1; jne again
            code.AddRange([0xf3, 0x90, 0x66, 0x83, 0x3c, 0x25, .. BitConverter.GetBytes(used + 2), 1, 0x75, 0xf3]);
        }
        // mov edx, PowerPort; mov eax, PowerOff; out dx, al; stay: hlt; jmp stay
        code.AddRange([0xba, .. BitConverter.GetBytes((int)PowerPort), 0xb8, .. BitConverter.GetBytes((int)PowerOff), 0xee, 0xf4, 0xeb, 0xfd]);
        TinyKernel.Write(path, [.. code]);
    }
}
