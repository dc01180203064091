import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Grafana's packages expect Node's globals.
export default defineConfig({
  plugins: [react()],
  define: { 'process.env': {}, 'process.platform': '""', global: 'globalThis' },
  build: { chunkSizeWarningLimit: 100_000 },
  preview: {
    host: '127.0.0.1',
    proxy: { '/api/v1': { target: process.env.PROMETHEUS } },
  },
});
